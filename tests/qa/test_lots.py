"""Lots over rows: what is audited, what becomes of labels, who is inspected how."""

import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, func, select, update

from curation import labels, versions
from labeling import campaigns, cancel, content, evolution, vendors
from labeling.content import Content
from labeling.definitions import TaskKind
from qa import decisions, defects, lot_decisions, lot_opening, lots, migrations, standing, verdicts
from qa.acceptance import Levels
from qa.lots import LotStatus, Terms
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.schema import Annotation, Campaign, ImageId, Label, Lot, LotDecision, LotItem, Task, Verdict
from store.workspace import Workspace

FIVE = Terms("single", sizes=(5,), accept=(0,))  # five items, none of which may be wrong
TWICE = Terms("double", sizes=(4, 4), accept=(0, 1))


class Bench:
    """A vendor whose people agree, an auditor who knows better, and who is right about which image.

    In truth every image is `right`; where the vendor errs they say `wrong`.
    """

    def __init__(
        self,
        build: Any,
        kind: TaskKind = "classification",
        right: str | Content = "cat",
        wrong: str | Content = "dog",
        *,
        classes: Sequence[str] = ("cat", "dog"),
        side: int = 8,
    ) -> None:
        self.build, self.workspace = build, build.workspace
        self.right, self.wrong, self.side = right, wrong, side
        self.taxonomy = build.taxonomy(classes, kind=kind)
        for number, name in enumerate(("nobody", "auditors"), start=1):
            vendors.add(self.workspace, name, url=f"http://127.0.0.1:{number}", token="env:NOTHING")
        self.truth: dict[int, str | Content] = {}

    def deliver(self, items: int, *, wrong: int = 0) -> str:
        """A campaign in which both people err about the last `wrong` of `items` images."""
        images = self._images(items)
        campaign_id = self.build.campaign(self.build.batch(images), self.taxonomy)
        answers = [self.right] * (items - wrong) + [self.wrong] * wrong
        people = (f"ann of {campaign_id}", f"bob of {campaign_id}")  # nobody is judged by an earlier audit
        self.build.answers(campaign_id, dict.fromkeys(people, answers))
        with self.workspace.database.read() as session:
            name = session.get_one(Campaign, campaign_id).name
        verdicts.review(self.workspace, name, accept_at=0.6)
        return str(name)

    def deliver_labels(self, items: int, *, wrong: int = 0) -> str:
        """The same with nobody's answers behind the labels, which is faster."""
        images = self._images(items)
        values = [self.right] * (items - wrong) + [self.wrong] * wrong
        self.build.labels({image: written(value) for image, value in zip(images, values, strict=True)})
        with self.workspace.database.read() as session:
            return session.scalars(select(Campaign.name).order_by(Campaign.id.desc())).first() or ""

    def _images(self, items: int) -> list[ImageId]:
        known = len(self.truth)
        images: list[ImageId] = self.build.images(items, order=range(known, known + items), side=self.side)
        self.truth |= dict.fromkeys(images, self.right)
        return images

    def open(self, campaign: str, terms: Terms | None = FIVE, **options: Any) -> LotStatus:
        return lot_opening.open_lot(self.workspace, campaign, auditor="auditors", terms=terms, **options)

    def tasks(self, campaign: str) -> list[Task]:
        with self.workspace.database.read() as session:
            of_campaign = select(Task).join(Campaign).where(Campaign.name == campaign).order_by(Task.rank)
            return list(session.scalars(of_campaign))

    def answer(self, campaign: str, *people: str, said: Callable[[int], str | Content | None] | None = None) -> None:
        """What these people say in a campaign: the truth, unless `said` tells something else of an image."""
        with self.workspace.database.read() as session:
            campaign_id = session.scalars(select(Campaign.id).where(Campaign.name == campaign)).one()
        values = [(said or self.truth.__getitem__)(task.image_id) for task in self.tasks(campaign)]
        self.build.answers(campaign_id, dict.fromkeys(people, values))

    def answer_first(self, lot: LotStatus, count: int) -> None:
        """The auditor has answered so many of what was drawn; the others were not sent."""
        self.answer(lot.audits[-1], "eve")
        with self.workspace.database.write() as session:  # nobody has answered what was not sent
            for task in self.tasks(lot.audits[-1])[:count]:
                session.get_one(Task, task.id).state = "pushed"
            for task in self.tasks(lot.audits[-1])[count:]:
                session.execute(delete(Annotation).where(Annotation.task_id == task.id))

    def audit(self, lot: LotStatus, **options: Any) -> LotStatus:
        """The auditor answers what was drawn last, and the lot is decided."""
        self.answer(lot.audits[-1], "eve")
        return lot_decisions.decide(self.workspace, lot.id, **options)

    def labels(self) -> dict[int, str]:
        with self.workspace.database.read() as session:
            return {label.image_id: label.value for label in labels.in_force(session, "animals")}

    def rows(self) -> list[int]:
        tables = (Verdict, Label, LotDecision, Campaign, Task)
        with self.workspace.database.read() as session:
            return [session.scalar(select(func.count()).select_from(table)) or 0 for table in tables]

    def drawn(self, lot: LotStatus) -> list[int]:
        """The images of a lot in the order drawn."""
        of_lot = select(Task.image_id).join(LotItem, LotItem.task_id == Task.id).where(LotItem.lot_id == lot.id)
        with self.workspace.database.read() as session:
            return list(session.scalars(of_lot.order_by(LotItem.place)))


def written(value: str | Content) -> str:
    return value if isinstance(value, str) else content.to_json(content.essence(value))


@pytest.fixture
def bench(build: Any) -> Bench:
    return Bench(build)


def test_a_good_lot_is_accepted_and_its_sample_labelled_by_the_auditor(bench: Bench) -> None:
    lot = bench.open(bench.deliver(20))
    assert (lot.size, lot.drawn, lot.audited, lot.outcome, lot.severity) == (20, 5, 0, "open", "normal")
    [audit] = lot.audits
    assert [task.image_id for task in bench.tasks(audit)] == bench.drawn(lot)[:5]
    with bench.workspace.database.read() as session:
        made = session.scalars(select(Campaign).where(Campaign.name == audit)).one()
        assert (made.purpose, made.overlap) == ("audit", 1)
        assert (lot.auditor, made.vendor_id) == ("auditors", vendors.get(session, "auditors").id)
    assert audit == "audit-1"  # which tells neither the campaign nor its vendor
    before = bench.rows()
    assert lot_decisions.decide(bench.workspace, lot.id).outcome == "open"
    assert bench.rows() == before

    done = bench.audit(lot)
    assert (done.outcome, done.audited, done.found, done.decided_on) == ("accepted", 5, 0, 5)
    assert bench.labels() == bench.truth
    with bench.workspace.database.read() as session:
        by_auditor = [each for each in labels.in_force(session, "animals") if each.posterior is None]
        assert sorted(each.image_id for each in by_auditor) == sorted(bench.drawn(lot)[:5])
        decision = session.scalars(select(LotDecision)).one()
        evidence = session.scalars(
            select(Annotation.task_id).where(Annotation.id.in_(decision.evidence["annotations"]))
        )
        assert set(evidence) == {task.id for task in bench.tasks(audit)}
    before = bench.rows()
    assert lot_decisions.decide(bench.workspace, lot.id) == done
    assert verdicts.review(bench.workspace, lot.campaign, accept_at=0.6).new_verdicts == 0
    assert bench.rows() == before


def test_the_sample_is_drawn_by_the_seed_that_is_kept_and_differs_from_lot_to_lot(bench: Bench) -> None:
    places = []
    for _ in range(10):
        campaign = bench.deliver_labels(30)
        lot = bench.open(campaign)
        with bench.workspace.database.read() as session:
            seed = session.get_one(Lot, lot.id).seed
        images = [task.image_id for task in bench.tasks(campaign)]
        order = np.random.default_rng(seed).permutation(30)
        assert bench.drawn(lot) == [images[i] for i in order]
        places.append(tuple(order[:5]))
    assert len(set(places)) == 10
    assert 10 < np.mean(places) < 19  # the mean of 50 draws from 0 … 29, which is 14.5, within four standard errors


def test_a_bad_lot_is_rejected_reworked_and_accepted_when_it_comes_back(bench: Bench) -> None:
    campaign = bench.deliver(20, wrong=16)  # of any five items one is wrong
    first = bench.open(campaign)
    version = versions.cut(bench.workspace, "animals")
    done = bench.audit(first)
    assert (done.outcome, done.audited) == ("rejected", 5)
    audited = set(bench.drawn(first)[:5])
    assert done.found == sum(image > 4 for image in audited) > 0
    assert bench.labels() == dict.fromkeys(audited, "cat")  # what the auditor said, and no more
    with bench.workspace.database.read() as session:
        assert len(versions.items(session, version.id)) == 20

    before = bench.rows()
    assert verdicts.review(bench.workspace, campaign, accept_at=0.6).new_verdicts == 0
    bench.answer(campaign, "late")  # more of the same vendor revives nothing
    assert verdicts.review(bench.workspace, campaign, accept_at=0.6).outcomes == {"accepted": 5, "rejected": 15}
    assert bench.rows() == before

    back = lot_decisions.rework(bench.workspace, first.id)
    assert back.rework == f"{campaign}-rework"
    assert {task.image_id for task in bench.tasks(back.rework)} == bench.truth.keys() - audited
    assert not {task.uid for task in bench.tasks(back.rework)} & {task.uid for task in bench.tasks(campaign)}
    assert lot_decisions.rework(bench.workspace, first.id) == back
    bench.answer(back.rework, "ann", "bob")
    assert (
        verdicts.review(bench.workspace, back.rework).new_labels == 15
    )  # accepted as in the campaign that was rejected
    assert bench.labels() == bench.truth

    again = bench.open(back.rework, None)
    assert (again.resubmits, again.terms, again.severity, again.size) == (first.id, FIVE, "normal", 15)
    assert bench.audit(again).outcome == "accepted"
    assert bench.labels() == bench.truth
    with bench.workspace.database.read() as session:
        assert [(each.id, each.outcome, each.rework) for each in lots.list_lots(session)] == [
            (again.id, "accepted", None),
            (first.id, "rejected", back.rework),
        ]


def test_a_rework_that_is_rejected_too_is_reworked_again(bench: Bench) -> None:
    campaign = bench.deliver(20, wrong=20)
    first = bench.audit(bench.open(campaign))
    rework = lot_decisions.rework(bench.workspace, first.id).rework
    bench.answer(rework, "ann", "bob", said=lambda image: "dog")
    verdicts.review(bench.workspace, rework, accept_at=0.6)
    second = bench.audit(bench.open(rework, None))
    assert second.outcome == "rejected"
    assert lot_decisions.rework(bench.workspace, second.id).rework == f"{campaign}-rework-2"
    assert len(bench.labels()) == 10  # those that were audited


def test_the_second_sample_of_a_double_plan_is_drawn_when_the_first_leaves_it_open(bench: Bench) -> None:
    campaign = bench.deliver(20)
    lot = bench.open(campaign, TWICE)
    assert (lot.drawn, lot.audits) == (4, ["audit-1"])
    wrong = bench.drawn(lot)[2]
    bench.answer("audit-1", "eve", said=lambda image: None if image == bench.drawn(lot)[0] else "cat")
    assert lot_decisions.decide(bench.workspace, lot.id).audits == ["audit-1"]  # one answer is missing
    bench.truth[wrong] = "dog"
    bench.answer("audit-1", "eva")  # another auditor answers last
    more = lot_decisions.decide(bench.workspace, lot.id)
    assert (more.outcome, more.audits, more.drawn, more.found) == ("open", ["audit-1", "audit-1-2"], 8, 1)
    assert [task.image_id for task in bench.tasks("audit-1-2")] == bench.drawn(lot)[4:8]
    assert lot_decisions.decide(bench.workspace, lot.id) == more
    done = bench.audit(more)
    assert (done.outcome, done.decided_on, done.found) == ("accepted", 8, 1)
    assert bench.labels() == bench.truth
    with bench.workspace.database.read() as session:
        assert list(session.scalars(select(LotDecision.outcome).order_by(LotDecision.id))) == ["continue", "accepted"]


def test_a_sequential_plan_draws_as_many_as_could_decide(bench: Bench) -> None:
    lot = bench.open(bench.deliver_labels(60), Terms("sequential", Levels(0.05, 0.25)))
    assert lot.drawn == lot.plan.accept.index(0) + 1
    bench.truth[bench.drawn(lot)[0]] = "dog"
    while lot.outcome == "open":
        lot = bench.audit(lot)
    assert lot.outcome == "accepted"
    assert lot.drawn == lot.decided_on == lot.plan.accept.index(1) + 1


def test_a_rejected_lot_is_sorted_by_the_auditor(bench: Bench) -> None:
    lot = bench.audit(bench.open(bench.deliver(20, wrong=16)), sort=True)
    assert (lot.outcome, lot.drawn, lot.audits) == ("rejected", 20, ["audit-1", "audit-1-2"])
    assert len(bench.labels()) == 5
    with pytest.raises(ConflictError, match="goes to the auditor as a whole"):
        lot_decisions.rework(bench.workspace, lot.id)
    done = bench.audit(lot)
    assert (done.outcome, done.audited, done.found) == ("sorted", 20, 16)
    assert bench.labels() == bench.truth
    before = bench.rows()
    assert lot_decisions.decide(bench.workspace, lot.id, sort=True) == done
    assert bench.rows() == before
    with pytest.raises(ConflictError, match="is sorted: only a rejected one is reworked"):
        lot_decisions.rework(bench.workspace, lot.id)


def decided(bench: Bench, lot: LotStatus, image: int, answer: str | None) -> None:
    """An expert's word on an item, on the command line."""
    reason = "ambiguous-image" if answer is None else "annotator-mistake"
    decisions.decide(bench.workspace, lot.campaign, str(image), answer=answer, reason=reason, author="expert")


def settled(bench: Bench, lot: LotStatus) -> dict[int, str]:
    """The labels after reviews and decisions by turns, none of which changes what the first made."""
    verdicts.review(bench.workspace, lot.campaign, accept_at=0.6)
    lot_decisions.decide(bench.workspace, lot.id)
    found, before = bench.labels(), bench.rows()
    for _ in range(2):
        verdicts.review(bench.workspace, lot.campaign, accept_at=0.6)
        lot_decisions.decide(bench.workspace, lot.id)
    assert bench.rows() == before
    assert bench.labels() == found
    return found


def test_what_an_expert_says_of_an_item_of_a_rejected_lot_stands(bench: Bench) -> None:
    lot = bench.audit(bench.open(bench.deliver(20, wrong=20)))
    image = bench.drawn(lot)[7]
    decided(bench, lot, image, "dog")
    assert settled(bench, lot)[image] == "dog"
    rework = lot_decisions.rework(bench.workspace, lot.id).rework
    assert image not in {task.image_id for task in bench.tasks(rework)}


def test_an_expert_who_speaks_after_the_auditor_is_heard(bench: Bench) -> None:
    lot = bench.audit(bench.open(bench.deliver(20)))
    image = bench.drawn(lot)[2]
    decided(bench, lot, image, "dog")
    assert settled(bench, lot)[image] == "dog"
    decided(bench, lot, image, None)
    assert image not in settled(bench, lot)


def test_a_paused_auditor_decides_no_lot_and_labels_none_of_its_items(bench: Bench) -> None:
    lot = bench.open(bench.deliver(20, wrong=20))
    bench.answer(lot.audits[0], "eve")
    since = datetime(2020, 1, 1, tzinfo=UTC)
    standing.decide(bench.workspace, "eve", "paused", reason="a test", by="lead", since=since)
    assert lot_decisions.decide(bench.workspace, lot.id).outcome == "open"
    assert set(bench.labels().values()) == {"dog"}
    standing.decide(bench.workspace, "eve", "good", reason="a test", by="lead")
    assert lot_decisions.decide(bench.workspace, lot.id).outcome == "rejected"
    assert set(settled(bench, lot).values()) == {"cat"}
    standing.decide(bench.workspace, "eve", "paused", reason="a test", by="lead", since=since)
    assert settled(bench, lot) == {}  # the vendor's labels are not in force again


def test_an_item_that_the_auditor_skips_waits_for_an_experts_word(bench: Bench) -> None:
    lot = bench.open(bench.deliver(20))
    image = bench.drawn(lot)[1]
    bench.answer(lot.audits[0], "eve", said=lambda each: None if each == image else "cat")
    assert lot_decisions.decide(bench.workspace, lot.id).outcome == "open"
    decided(bench, lot, image, "cat")
    done = lot_decisions.decide(bench.workspace, lot.id)
    assert (done.outcome, done.audited, done.found) == ("accepted", 5, 0)


@pytest.mark.parametrize("terms", [Terms("single", sizes=(3,), accept=(0,)), TWICE])
def test_a_sample_that_experts_settled_before_it_was_drawn_needs_no_audit(bench: Bench, terms: Terms) -> None:
    """And that no review has seen since: no audit is left to plan, and the lot is decided all the same."""
    campaign = bench.deliver(8)
    first = bench.open(campaign, terms)
    lot_decisions.withdraw(bench.workspace, first.id)
    for image in bench.truth:
        decided(bench, first, image, "cat")
    lot = bench.open(campaign, terms)
    assert lot.audits == []
    assert lot_decisions.decide(bench.workspace, lot.id).outcome == "accepted"


def test_what_an_expert_cannot_tell_is_a_defect_and_gets_no_label(bench: Bench) -> None:
    lot = bench.open(bench.deliver(20))
    image = bench.drawn(lot)[1]
    bench.answer(lot.audits[0], "eve", said=lambda each: None if each == image else "cat")
    decided(bench, lot, image, None)
    done = lot_decisions.decide(bench.workspace, lot.id)
    assert (done.outcome, done.found) == ("rejected", 1)
    assert image not in settled(bench, lot)


def test_an_audit_that_was_called_off_is_planned_again(bench: Bench) -> None:
    lot = bench.open(bench.deliver(20))
    with bench.workspace.database.write() as session:
        audit = session.scalars(select(Campaign).where(Campaign.name == lot.audits[0])).one()
        for task in session.scalars(select(Task).where(Task.campaign_id == audit.id)):
            task.state = "withdrawn"
    again = lot_decisions.decide(bench.workspace, lot.id)
    assert (again.outcome, again.drawn, again.audited, len(again.audits)) == ("open", 5, 0, 2)
    assert [task.image_id for task in bench.tasks(again.audits[1])] == bench.drawn(lot)[:5]
    assert lot_decisions.decide(bench.workspace, lot.id) == again
    assert bench.audit(again).outcome == "accepted"


@pytest.mark.parametrize(("wrong", "outcome"), [(0, "accepted"), (20, "rejected")])
def test_an_item_whose_task_is_gone_is_judged_and_settled_with_its_lot(bench: Bench, wrong: int, outcome: str) -> None:
    """Somebody deleted it on the server, and the campaign was cancelled: its label was in force all the same."""
    campaign = bench.deliver(20, wrong=wrong)
    lot = bench.open(campaign)
    sampled, other = bench.drawn(lot)[0], bench.drawn(lot)[-1]
    delete_tasks(bench, campaign, {sampled, other})
    done = bench.audit(lot)
    assert (done.outcome, done.audited, done.found) == (outcome, 5, 5 if wrong else 0)
    assert bench.labels() == (dict.fromkeys(bench.drawn(lot)[:5], "cat") if wrong else bench.truth)
    before = bench.rows()
    assert lot_decisions.decide(bench.workspace, lot.id) == done
    assert verdicts.review(bench.workspace, campaign, accept_at=0.6).new_verdicts == 0
    assert bench.rows() == before
    if wrong:
        rework = lot_decisions.rework(bench.workspace, lot.id).rework
        assert {task.image_id for task in bench.tasks(rework or "")} == set(bench.drawn(lot)[5:])


def test_no_label_escapes_its_audit_because_its_task_is_gone(bench: Bench) -> None:
    campaign = bench.deliver(20, wrong=1)
    first = bench.open(campaign)
    bench.answer_first(first, 0)
    delete_tasks(bench, campaign, set(bench.truth))
    assert lot_decisions.withdraw(bench.workspace, first.id).outcome == "withdrawn"
    again = bench.open(campaign, Terms("single", sizes=(20,), accept=(1,)))
    done = bench.audit(again)
    assert (done.outcome, done.size, done.found) == ("accepted", 20, 1)
    assert bench.labels() == bench.truth


def delete_tasks(bench: Bench, campaign: str, images: set[int]) -> None:
    """They are answered, and on the server no more."""
    ids = [task.id for task in bench.tasks(campaign) if task.image_id in images]
    with bench.workspace.database.write() as session:
        session.execute(update(Task).where(Task.id.in_(ids)).values(state="withdrawn", ls_task_id=None))


def test_a_lot_that_is_withdrawn_is_in_the_next_but_for_what_was_audited(bench: Bench) -> None:
    campaign = bench.deliver(20)
    lot = bench.open(campaign)
    audited = bench.drawn(lot)[0]
    bench.answer_first(lot, 1)
    done = lot_decisions.withdraw(bench.workspace, lot.id)
    assert (done.outcome, done.audited, done.decided_on, done.rework) == ("withdrawn", 1, 1, None)
    assert bench.labels()[audited] == "cat"
    assert [task.state for task in bench.tasks(lot.audits[0])] == ["pushed", *["withdrawn"] * 4]
    before = bench.rows()
    assert lot_decisions.withdraw(bench.workspace, lot.id) == done
    assert bench.rows() == before
    with pytest.raises(ConflictError, match=r"lot 1 is withdrawn: there is nothing to decide"):
        lot_decisions.decide(bench.workspace, lot.id)
    with pytest.raises(ConflictError, match=r"lot 1 is withdrawn: only a rejected one is reworked"):
        lot_decisions.rework(bench.workspace, lot.id)

    again = bench.open(campaign)
    assert sorted([audited, *bench.drawn(again)]) == sorted(bench.truth)
    assert again.severity == "normal"
    assert bench.audit(again).outcome == "accepted"
    with pytest.raises(ConflictError, match=r"lot 2 is accepted: only one that is not decided can be withdrawn"):
        lot_decisions.withdraw(bench.workspace, again.id)


@pytest.mark.parametrize(
    ("wrong", "answered", "sentence"),
    [
        (0, 5, "What was audited decides the lot 1. Run: winnow qa lots decide 1"),
        (20, 5, "What was audited decides the lot 1"),
        (20, 1, "Of the lot 1 1 of the items audited are wrong, and only a lot of which none is can be withdrawn"),
    ],
)
@pytest.mark.parametrize("terms", [FIVE, Terms("single", sizes=(5,), accept=(1,))])
def test_no_lot_escapes_its_audit_by_a_withdrawal(
    bench: Bench, wrong: int, answered: int, sentence: str, terms: Terms
) -> None:
    lot = bench.open(bench.deliver(20, wrong=wrong), terms)
    bench.answer_first(lot, answered)
    before = bench.rows()
    with pytest.raises(ConflictError, match=sentence):
        lot_decisions.withdraw(bench.workspace, lot.id)
    assert bench.rows() == before
    assert campaigns_open(bench) == lot.audits


def test_no_lot_escapes_its_audit_by_a_pause_of_its_auditor(bench: Bench) -> None:
    """Whose answers count for nothing: what was found is found again by who audits instead, in the same sample."""
    lot = bench.open(bench.deliver(20, wrong=20))
    bench.answer_first(lot, 2)
    since = datetime(2020, 1, 1, tzinfo=UTC)
    standing.decide(bench.workspace, "eve", "paused", reason="a test", by="lead", since=since)
    with pytest.raises(ConflictError, match=r"2 items of the lot 1 have answers that do not count, .*: let another"):
        lot_decisions.withdraw(bench.workspace, lot.id)
    bench.answer(lot.audits[0], "zoe", said=lambda image: "dog")  # who finds nothing wrong
    assert lot_decisions.decide(bench.workspace, lot.id).outcome == "accepted"


def test_what_a_decision_plans_during_a_withdrawal_is_called_off_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lot = bench.open(bench.deliver(20))
    really, planned = cancel.cancel, []

    def cancel_while_somebody_decides(workspace: Workspace, name: str) -> cancel.Cancelled:
        done = really(workspace, name)
        if not planned:
            planned.extend(lot_decisions.decide(workspace, lot.id).audits)
        return done

    monkeypatch.setattr(cancel, "cancel", cancel_while_somebody_decides)
    done = lot_decisions.withdraw(bench.workspace, lot.id)
    assert (done.outcome, done.audits) == ("withdrawn", planned)
    assert len(planned) == 2
    assert campaigns_open(bench) == []


def test_a_lot_after_one_that_was_withdrawn_has_another_sample(bench: Bench) -> None:
    campaign = bench.deliver(20)
    first = bench.open(campaign)
    lot_decisions.withdraw(bench.workspace, first.id)
    second = bench.open(campaign)
    assert bench.drawn(first) != bench.drawn(second)
    assert sorted(bench.drawn(first)) == sorted(bench.drawn(second))


def campaigns_open(bench: Bench) -> list[str]:
    """The audits that are not closed."""
    with bench.workspace.database.read() as session:
        audits = session.scalars(select(Campaign).where(Campaign.purpose == "audit").order_by(Campaign.id))
        return [each.name for each in audits if each.closed_at is None]


def test_a_lot_is_not_decided_while_its_campaign_is_reviewed(bench: Bench) -> None:
    lot = bench.open(bench.deliver(20))
    bench.answer(lot.audits[0], "eve")
    with ThreadPoolExecutor() as pool:
        with campaigns.exclusive(bench.workspace, 1):
            deciding = pool.submit(lot_decisions.decide, bench.workspace, lot.id)
            with pytest.raises(TimeoutError):
                deciding.result(timeout=0.5)
        assert deciding.result(timeout=60).outcome == "accepted"


@pytest.fixture
def compared(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Grows by what is compared from now on, which fails where somebody would wait for it."""
    differ, found = defects.differ, []

    def while_nobody_waits(*said: Any, **more: Any) -> bool:
        with closing(sqlite3.connect(bench.workspace.home / "winnow.db", timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        found.append(said)
        return differ(*said, **more)

    monkeypatch.setattr(defects, "differ", while_nobody_waits)
    return found


def test_nobody_waits_while_an_audit_is_compared(bench: Bench, compared: list[Any]) -> None:
    lot = bench.open(bench.deliver(20))
    assert bench.audit(lot).outcome == "accepted"
    assert len(compared) == 5


def test_nobody_waits_while_a_lot_is_withdrawn_or_reworked(bench: Bench, compared: list[Any]) -> None:
    lot = bench.open(bench.deliver(20))
    bench.answer_first(lot, 2)
    assert lot_decisions.withdraw(bench.workspace, lot.id).outcome == "withdrawn"
    lot = bench.audit(bench.open(bench.deliver_labels(20, wrong=20)))
    migrations.migrate(bench.workspace, "animals", evolution.plan(rename=[("cat", "feline")]))
    assert lot_decisions.rework(bench.workspace, lot.id).rework
    assert compared


def test_what_decided_a_lot_is_compared_again_only_where_it_may_differ_now(bench: Bench, compared: list[Any]) -> None:
    lot = bench.audit(bench.open(bench.deliver(20, wrong=20), TWICE))
    assert (lot.outcome, lot.found) == ("rejected", 4)

    def listed() -> tuple[int, int]:
        compared.clear()
        with bench.workspace.database.read() as session:
            [found] = lots.list_lots(session)
        return found.found, len(compared)

    assert listed() == (4, 0)
    decided(bench, lot, bench.drawn(lot)[0], "dog")
    assert listed() == (3, 1)
    decided(bench, lot, bench.drawn(lot)[1], None)
    assert listed() == (3, 1)
    migrations.migrate(bench.workspace, "animals", evolution.plan(rename=[("cat", "feline")]))
    assert listed() == (3, 3)


def test_what_is_said_while_an_audit_is_compared_counts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = bench.deliver(20)
    lot = bench.open(campaign)
    bench.answer(lot.audits[0], "eve")
    exclusive = campaigns.exclusive

    def later(*of: Any) -> Any:
        image = f"{bench.drawn(lot)[0]}"
        decisions.decide(bench.workspace, campaign, image, answer="dog", reason="annotator-mistake", author="eve")
        return exclusive(*of)

    monkeypatch.setattr(campaigns, "exclusive", later)
    done = lot_decisions.decide(bench.workspace, lot.id)
    assert (done.outcome, done.found) == ("rejected", 1)


def test_a_reworked_lot_is_not_sorted_too(bench: Bench) -> None:
    lot = bench.audit(bench.open(bench.deliver(20, wrong=20)))
    lot_decisions.rework(bench.workspace, lot.id)
    with pytest.raises(ConflictError, match="is reworked in 'campaign-1-rework'"):
        lot_decisions.decide(bench.workspace, lot.id, sort=True)


def test_a_lot_holds_what_was_agreed_on_since_the_last_one(bench: Bench) -> None:
    images = bench.build.images(12)
    bench.truth |= dict.fromkeys(images, "cat")
    campaign_id = bench.build.campaign(bench.build.batch(images), bench.taxonomy)
    bench.build.answers(campaign_id, {"ann": ["cat"] * 12, "bob": ["cat"] * 6 + [None] * 6})
    verdicts.review(bench.workspace, "campaign-1", accept_at=0.6)
    assert bench.open("campaign-1").size == 6
    with pytest.raises(InvalidInputError, match="Nothing in 'campaign-1' was agreed on since its last lot"):
        bench.open("campaign-1")
    bench.build.answers(campaign_id, {"bob": [None] * 6 + ["cat"] * 6})
    verdicts.review(bench.workspace, "campaign-1", accept_at=0.6)
    assert sorted(bench.drawn(bench.open("campaign-1"))) == images[6:]


def test_lots_rejected_make_inspection_tightened_and_then_end_it(bench: Bench) -> None:
    def deliver(wrong: int, **options: Any) -> LotStatus:
        return bench.audit(bench.open(bench.deliver_labels(10, wrong=wrong), **options))

    first = deliver(10)
    rework = lot_decisions.rework(bench.workspace, first.id).rework
    bench.answer(rework, "ann", "bob", said=lambda image: "dog")
    verdicts.review(bench.workspace, rework, accept_at=0.6)
    assert bench.audit(bench.open(rework, None)).outcome == "sorted"  # rejected by a sample of all five that are left
    assert deliver(10).severity == "normal"  # a lot that comes back does not count
    tightened = deliver(0)
    assert (tightened.severity, tightened.plan.sizes) == ("tightened", (8,))
    for _ in range(5):
        assert deliver(10).severity == "tightened"
    assert deliver(0, severity="normal").outcome == "accepted"  # which nobody mended anything for
    campaign = bench.deliver_labels(10)
    with pytest.raises(ConflictError, match="five were rejected under tightened inspection"):
        bench.open(campaign)
    assert bench.audit(bench.open(campaign, severity="tightened")).outcome == "accepted"
    assert deliver(0).severity == "tightened"


def test_a_lot_that_comes_back_is_inspected_no_less_severely(bench: Bench) -> None:
    lot = bench.audit(bench.open(bench.deliver(10, wrong=10), severity="tightened"))
    rework = lot_decisions.rework(bench.workspace, lot.id).rework
    bench.answer(rework, "ann", "bob")
    verdicts.review(bench.workspace, rework, accept_at=0.6)
    back = bench.open(rework, None)
    assert (back.severity, back.plan.sizes, back.size) == ("tightened", (2,), 2)  # the sample would be larger


def test_a_renamed_class_is_no_defect(bench: Bench) -> None:
    lot = bench.open(bench.deliver(20))
    migrations.migrate(bench.workspace, "animals", evolution.plan(rename=[("cat", "feline")]))
    assert bench.audit(lot).found == 0
    assert set(bench.labels().values()) == {"feline"}
    with pytest.raises(InvalidInputError, match="since its last lot"):
        bench.open(lot.campaign)


def test_what_cannot_be_is_said(bench: Bench) -> None:
    campaign = bench.deliver(20)
    with pytest.raises(InvalidInputError, match="'nobody' labelled 'campaign-1'"):
        lot_opening.open_lot(bench.workspace, campaign, auditor="nobody", terms=FIVE)
    with pytest.raises(InvalidInputError, match="--aql, --ltpd"):
        bench.open(campaign, None)
    with pytest.raises(InvalidInputError, match="accepts 20 defectives among 20 items rejects nothing"):
        bench.open(campaign, Terms("single", sizes=(30,), accept=(20,)))
    with pytest.raises(InvalidInputError, match="here are 2 and 1"):
        bench.open(campaign, Terms("double", sizes=(3, 3), accept=(0,)))
    with pytest.raises(NotFoundError, match="no lot 7"):
        lot_decisions.decide(bench.workspace, 7)
    lot = bench.open(campaign)
    with pytest.raises(ConflictError, match="is not decided: only a rejected one is reworked"):
        lot_decisions.rework(bench.workspace, lot.id)
    with pytest.raises(ConflictError, match="is not decided: only a rejected one is sorted"):
        lot_decisions.decide(bench.workspace, lot.id, sort=True)
    with pytest.raises(InvalidInputError, match="'audit-1' is the audit of 'campaign-1'"):
        verdicts.review(bench.workspace, "audit-1")
