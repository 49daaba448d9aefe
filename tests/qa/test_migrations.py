from typing import Any

import pytest
from sqlalchemy import func, select

from curation import labels, versions, where
from labeling import evolution, taxonomy
from labeling.evolution import Migration, NeedsRelabelling
from qa import ledger, migrations, report, verdicts
from store.errors import InvalidInputError
from store.schema import Annotation, Campaign, Label, Taxonomy, Verdict
from store.workspace import Workspace

CLASSES = ("bird", "cat", "dog")


class Bench:
    """Six images that two people agree on: two birds, two cats, two dogs."""

    def __init__(self, workspace: Workspace, build: Any) -> None:
        self.workspace = workspace
        self.build = build
        self.images = build.images(6)
        self.answers = [name for name in CLASSES for _ in range(2)]
        self.campaign = build.campaign(build.batch(self.images), build.taxonomy(CLASSES))
        build.answers(self.campaign, {"ann": self.answers, "bob": self.answers})
        self.review()

    def review(self, **options: float) -> verdicts.QaSummary:
        return verdicts.review(self.workspace, "campaign-1", **options)

    def migrate(self, **rules: Any) -> migrations.CarriedOver:
        return migrations.migrate(self.workspace, "animals", evolution.plan(**rules))[1]

    def labels(self) -> dict[int, str]:
        with self.workspace.database.read() as session:
            in_force = {label.image_id: label.value for label in labels.in_force(session, "animals")}
            return dict(sorted(in_force.items()))

    def find(self, expression: str) -> list[int]:
        with self.workspace.database.read() as session:
            return where.image_ids(session, expression).tolist()

    def rows(self) -> int:
        with self.workspace.database.read() as session:
            counts = select(func.count(Label.id)), select(func.count(Verdict.id))
            return sum(session.scalar(count) or 0 for count in counts)


@pytest.fixture
def bench(workspace: Workspace, build: Any) -> Bench:
    return Bench(workspace, build)


def test_renamed_and_merged_labels_are_carried_over_through_verdicts(bench: Bench) -> None:
    carried = bench.migrate(rename=[("bird", "fowl")], merge=[(["cat", "dog"], "pet")])
    assert carried == migrations.CarriedOver(carried=6, unchanged=0, rejected=[])
    assert list(bench.labels().values()) == ["fowl"] * 2 + ["pet"] * 4
    with bench.workspace.database.read() as session:
        newest = taxonomy.newest(session, "animals")
        assert (newest.revision, newest.definition.class_names) == (2, ["fowl", "pet"])
        for label in session.scalars(select(Label).where(Label.taxonomy_id == newest.id)):
            verdict = session.get_one(Verdict, label.verdict_id)
            source = verdict.evidence[labels.MIGRATED]
            old = session.get_one(Label, source["label"])
            before = session.get_one(Verdict, source["verdict"])
            assert (source["from"], source["to"]) == (1, 2)
            assert (verdict.outcome, verdict.answer) == ("accepted", label.value)
            assert old.verdict_id == before.id
            assert (old.image_id, verdict.task_id) == (label.image_id, before.task_id)
            assert verdict.evidence["annotations"] == before.evidence["annotations"]
            assert verdict.posterior == before.posterior


def test_split_and_retired_labels_make_images_unlabelled_again(bench: Bench) -> None:
    carried = bench.migrate(split=[("cat", ["cat", "lion"])], retire=["bird"])
    assert carried == migrations.CarriedOver(carried=0, unchanged=2, rejected=bench.images[:4])
    assert bench.labels() == dict.fromkeys(bench.images[4:], "dog")
    assert bench.find("rejected") == bench.images[:4]
    assert bench.find("not labelled") == bench.images[:4]
    with bench.workspace.database.read() as session:
        campaign = session.get_one(Campaign, bench.campaign)
        newest = ledger.newest(session, campaign)
        bird, _, cat, *_ = [newest[task_id] for task_id in sorted(newest)]
        assert bird.evidence[labels.MIGRATED]["why"] == "The class 'bird' was retired in revision 2."
        assert cat.evidence[labels.MIGRATED]["why"] == "The class 'cat' was split into cat, lion in revision 2."
    assert report.report(bench.workspace, "campaign-1").rejected == 4


def test_an_image_that_is_labelled_again_is_rejected_no_more(bench: Bench) -> None:
    bench.migrate(retire=["bird"])
    bench.build.labels({bench.images[0]: "cat"})
    assert bench.find("rejected") == [bench.images[1]]
    assert bench.labels()[bench.images[0]] == "cat"


def test_an_added_class_changes_no_label(bench: Bench) -> None:
    before = bench.rows()
    assert bench.migrate(add=["fish"]) == migrations.CarriedOver(carried=0, unchanged=6, rejected=[])
    assert bench.rows() == before


def test_reviewing_again_changes_nothing(bench: Bench) -> None:
    bench.migrate(rename=[("bird", "fowl")], retire=["cat"])
    before, in_force = bench.rows(), bench.labels()
    assert bench.review().new_verdicts == 0
    assert bench.review(accept_at=0.6).new_verdicts == 2  # the dogs', which no migration touched
    assert bench.labels() == in_force
    assert bench.rows() == before + 4


def test_what_is_accepted_later_in_a_running_campaign_is_carried_over_too(bench: Bench) -> None:
    bench.migrate(rename=[("cat", "feline")])
    bench.migrate(merge=[(["feline", "dog"], "pet")])
    with bench.workspace.database.write() as session:
        answers = select(Annotation).order_by(Annotation.task_id, Annotation.id).limit(2)
        for changed in session.scalars(answers).all():
            columns = {column.key: getattr(changed, column.key) for column in Annotation.__table__.columns}
            session.add(Annotation(**columns | {"id": None, "revision": 1, "answer": "cat"}))
    assert bench.review().new_labels == 1
    assert list(bench.labels().values()) == ["pet", "bird", *["pet"] * 4]
    with bench.workspace.database.read() as session:
        of_campaign = session.get_one(Campaign, bench.campaign).taxonomy_id
        assert session.get_one(Taxonomy, of_campaign).revision == 1


def test_a_version_holds_the_new_classes_only(bench: Bench) -> None:
    bench.migrate(rename=[("cat", "feline")], retire=["bird"])
    cut = versions.cut(bench.workspace, "animals")
    with bench.workspace.database.read() as session:
        values = [item.value for item in versions.items(session, cut.id)]
    assert sorted(values) == ["dog", "dog", "feline", "feline"]
    assert versions.verify(bench.workspace, cut.id).id == cut.id


def test_a_migration_that_does_not_fit_leaves_nothing(bench: Bench) -> None:
    before = bench.rows()
    with pytest.raises(InvalidInputError, match="needs two classes or more"):
        bench.migrate(merge=[(list(CLASSES), "animal")])
    with bench.workspace.database.read() as session:
        assert taxonomy.newest(session, "animals").revision == 1
    assert bench.rows() == before


def test_a_class_is_followed_through_all_later_revisions() -> None:
    chain = {2: Migration({"a": ("b",)}), 3: Migration({}, ("x",)), 4: Migration({"b": ("c",), "d": ()})}
    assert [migrations.value_now("a", revision, chain) for revision in (1, 2, 4)] == ["c", "a", "a"]
    assert migrations.value_now("b", 1, chain) == "c"
    assert migrations.value_now("d", 3, chain) == NeedsRelabelling("The class 'd' was retired in revision 4.")


def test_what_is_said_today_is_told_in_the_words_of_an_earlier_revision(bench: Bench) -> None:
    bench.migrate(rename=[("bird", "cat"), ("cat", "dog"), ("dog", "bird")])
    bench.migrate(rename=[("cat", "fowl")], merge=[(["dog", "bird"], "pet")])
    with bench.workspace.database.read() as session:
        chain = migrations.of_taxonomy(session, "animals")
        first = taxonomy.get(session, session.get_one(Campaign, bench.campaign).taxonomy_id)
    then = [migrations.value_then(name, 2, chain, asked=first) for name in ("cat", "dog", "fish")]
    assert then == ["bird", None, None]  # who says a dog of revision 2 says a pet, as who said a dog or a cat of 1
    assert migrations.value_then("fowl", 3, chain, asked=first) == "bird"
    assert migrations.value_then("dog", 1, chain, asked=first) == "dog"
