"""What to ask whoever writes the guideline: classes that people confuse where it does not say which is meant."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import labels
from curation.embed import find_encoder
from curation.index import open_directions
from labeling import taxonomy
from qa import agreement, answers, confusions
from qa.answers import Answers
from qa.conduct import signs
from qa.confusions import Confusion
from qa.consensus import belief, dawid_skene
from sampling.strategies import facility_location
from store.arrays import Bools, Ints
from store.errors import NotFoundError
from store.schema import Campaign, Task, Taxonomy
from store.workspace import Workspace

_UNCLEAR = 2  # items on which adjudicators found the guideline unclear, from which on it is asked in any case
_EXAMPLES = 4
_COMPARED = 500  # confused items at most among which examples are looked for


@dataclass(frozen=True)
class Question:
    """Two classes whose difference the guideline should explain."""

    taxonomy: str
    classes: tuple[str, str]
    text: str
    items: int  # of one class that somebody took for the other
    people: int  # who did
    expected: float  # items that people's accuracy would explain
    p_value: float  # of so many items by chance, whoever is left out
    alpha: float | None  # Krippendorff's, of answers that name one of the two; none where undefined
    unclear: int  # items of the two for which an adjudicator said so
    images: list[int]  # examples
    descriptions: dict[str, str]  # what the taxonomy says of either now
    guideline: str


def ask(workspace: Workspace, campaign_name: str | None = None) -> list[Question]:
    """The questions that one labelling campaign raises, or each taxonomy; those people confuse most surely first.

    A pair of classes is asked about when more items are confused than people's accuracy explains, whoever of them is
    left out, at a false discovery rate of 5 %; or when adjudicators found the guideline unclear on two items of it.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: it is an adjudication, or asks for more than one class.
    """
    with workspace.database.read() as session:
        if campaign_name is not None:
            campaign = answers.campaign_of_classes(session, campaign_name)
            tasks = select(Task.id).where(Task.campaign_id == campaign.id)
            return _of_taxonomy(workspace, session, campaign.taxonomy_id, among=set(session.scalars(tasks)))
        used = select(Campaign.taxonomy_id).where(Campaign.purpose == "labelling")
        asked = select(Taxonomy.id).where(Taxonomy.id.in_(used), Taxonomy.task_kind == labels.CLASSIFICATION)
        return [
            question
            for taxonomy_id in session.scalars(asked.order_by(Taxonomy.id)).all()
            for question in _of_taxonomy(workspace, session, taxonomy_id, among=None)
        ]


def _of_taxonomy(workspace: Workspace, session: Session, taxonomy_id: int, *, among: set[int] | None) -> list[Question]:
    row = session.get_one(Taxonomy, taxonomy_id)
    said = answers.read(session, row)
    kept = np.array([among is None or task_id in among for task_id in said.task_ids], dtype=np.bool_)
    classes = len(said.classes)
    fitted = dawid_skene.fit_one_coin(said.table, said.known, annotators=len(said.annotator_ids), classes=classes)
    table = said.table[kept[said.table[:, 0]]]
    found = confusions.tabulate(table, fitted.posteriors.argmax(axis=1), fitted.accuracy, classes=classes)
    unclear = _unclear(said, kept)
    sure = signs.discoveries(np.array([one.p_value for one in found]), tests=classes * (classes - 1) // 2)
    counts = belief.counts(table, items=len(said.task_ids), classes=classes)
    newest = taxonomy.newest(session, row.name).definition
    now = {each.name: each.description for each in newest.classes}
    questions = []
    for one, is_sure in zip(found, sure.tolist(), strict=True):
        flagged = unclear[one.first, one.second]
        if not is_sure and flagged < _UNCLEAR:
            continue
        pair = (said.classes[one.first], said.classes[one.second])
        alpha = agreement.krippendorff_alpha(counts[:, [one.first, one.second]])
        images = _examples(workspace, session, _images(session, said, one.items))
        questions.append(
            Question(
                taxonomy=row.name,
                classes=pair,
                text=_text(pair, one, alpha, flagged),
                items=len(one.items),
                people=len(one.annotators),
                expected=one.expected,
                p_value=one.p_value,
                alpha=alpha,
                unclear=flagged,
                images=images,
                descriptions={name: now.get(name, "") for name in pair},
                guideline=newest.guideline,
            )
        )
    return questions


def _text(pair: tuple[str, str], one: Confusion, alpha: float | None, unclear: int) -> str:
    people = "1 person" if len(one.annotators) == 1 else f"{len(one.annotators)} people"
    items = "1 item" if len(one.items) == 1 else f"{len(one.items)} items"
    text = (
        f"Is {pair[0]!r} or {pair[1]!r} meant in images like these? {people} took one for the other on {items}, "
        f"where mistakes that fall evenly would explain {one.expected:.1f}"
    )
    text += "." if alpha is None else f"; α between the two is {alpha:.2f}."
    if unclear:
        text += f" Adjudicators found the guideline unclear on {unclear} of them."
    return text


def _unclear(said: Answers, kept: Bools) -> Counter[tuple[int, int]]:
    """By pair of classes, the items for which an adjudicator found the guideline unclear.

    The pair is what they said and what most others said instead, the first of equals.
    """
    number = {name: i for i, name in enumerate(said.classes)}
    kept_ids = {task_id for task_id, is_kept in zip(said.task_ids, kept.tolist(), strict=True) if is_kept}
    votes: dict[int, Counter[int]] = {}
    for answer in said.given:
        if answer.value is not None and answer.task_id in kept_ids:
            votes.setdefault(answer.task_id, Counter())[number[answer.value]] += 1
    pairs: Counter[tuple[int, int]] = Counter()
    for task_id, word in said.adjudicated.items():
        if word.reason != "guideline-unclear" or word.value is None:
            continue
        settled = number[word.value]
        others = {other: count for other, count in votes.get(task_id, Counter()).items() if other != settled}
        if others:
            other = min(others, key=lambda one: (-others[one], one))
            pairs[min(settled, other), max(settled, other)] += 1
    return pairs


def _images(session: Session, said: Answers, items: Ints) -> list[int]:
    """The images of items, the most wanted first, some of many."""
    task_ids = [said.task_ids[position] for position in items[:_COMPARED].tolist()]
    rows = select(Task.image_id).where(Task.id.in_(task_ids)).order_by(Task.rank, Task.id)
    return list(dict.fromkeys(session.scalars(rows)))


def _examples(workspace: Workspace, session: Session, image_ids: list[int]) -> list[int]:
    """A few images that stand for all of them; without vectors the first."""
    try:
        encoder = find_encoder(session)
    except NotFoundError:
        return image_ids[:_EXAMPLES]
    directions = open_directions(workspace, session, encoder, among=set(image_ids))
    count = len(directions.image_ids)
    if count < _EXAMPLES:
        return image_ids[:_EXAMPLES]
    vectors = directions.take(np.arange(count))
    chosen = facility_location.choose(vectors, _EXAMPLES, labelled=vectors[:0], seed=0)
    return [int(image_id) for image_id in directions.image_ids[chosen]]
