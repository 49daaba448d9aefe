"""What the next answers of a campaign are worth most on: again on items that have some, or on new ones.

An item counts as what it is believed to be, by its answers and the probe; a new one by the probe alone, and where more
than one class is asked of it, by what other items hold. An answer is worth the rise that it is expected to bring in how
many items of the campaign are right, or of regions how large a share of each is (`qa.gains`). The idea is that of
ActiveLab: H. W. Goh and J. Mueller, ActiveLab: Active Learning with Re-Labeling by Multiple Annotators (2023).
"""

from dataclasses import dataclass

import numpy as np

from curation import labels
from qa import answers, case, outcomes
from store.errors import InvalidInputError
from store.workspace import Workspace


@dataclass(frozen=True)
class NextAnswer:
    """An item that another answer, or a first one, is worth the most on."""

    task: int
    image: int
    answers: int  # that it has
    likeliest: str  # in words
    posterior: float
    ask: str | None  # whom; none for somebody who has answered nothing yet
    gain: float  # items expected to be right more


@dataclass(frozen=True)
class NextAnswers:
    """Where so many answers are worth most, one an item."""

    campaign: str
    again: int  # items that have answers
    new: int
    gain: float  # of all together
    model: str | None  # by what new items are told apart; none: by what the others are alone
    heard: int  # answers under the taxonomy; without any, and without a model, all items look alike
    items: list[NextAnswer]  # the most worth first


def rank(workspace: Workspace, campaign_name: str, count: int, *, most_answers: int | None = None) -> NextAnswers:
    """The `count` items of a campaign that an answer is worth most on; fewer where fewer can be asked about.

    Args:
        workspace: holds the catalog.
        campaign_name: a labelling campaign.
        count: how many answers there will be.
        most_answers: to one item; by default `Case.most_answers`.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: it settles items of another or asks questions alone, or `count` is below 1.
        IntegrityError: vectors are missing on disk.
    """
    if count < 1:
        raise InvalidInputError(f"Say of how many answers, 1 or more; here are {count}.")
    with workspace.database.read() as session:
        answers.labelling_campaign(session, campaign_name)
        read = case.read(workspace, session, campaign_name, None)
    belief = outcomes.believe(read)
    item = outcomes.places(read)
    place = {task_id: rank for rank, task_id in enumerate(read.image_of)}
    ranks = np.array([place.get(task_id, len(place)) for task_id in read.tasks], dtype=np.int64)
    best: list[tuple[list[int], float]] = []  # person for each item, and what they are expected to gain
    for pairs in outcomes.blocks(outcomes.may_ask(read, most_answers=most_answers or read.most_answers)):
        gains = belief.gain(np.column_stack([item[pairs[:, 0]], pairs[:, 1]]))
        order = np.lexsort((pairs[:, 1], -gains, pairs[:, 0]))
        _, first = np.unique(pairs[order, 0], return_index=True)
        best += zip(pairs[order[first]].tolist(), gains[order[first]].tolist(), strict=True)
    best.sort(key=lambda each: (-each[1], ranks[each[0][0]]))
    items = []
    for (position, person), gain in best[:count]:
        task_id, value = read.tasks[position], belief.likeliest(item[position])[0]
        items.append(
            NextAnswer(
                task=task_id,
                image=read.image_of[task_id],
                answers=len(read.looks[task_id]),
                likeliest=labels.in_words(value, read.said.definition.kind),
                posterior=float(belief.sure[item[position]]),
                ask=read.people.get(read.annotators[person]),
                gain=gain,
            )
        )
    again = sum(each.answers > 0 for each in items)
    return NextAnswers(
        campaign=campaign_name,
        again=again,
        new=len(items) - again,
        gain=sum(each.gain for each in items),
        model=belief.model,
        heard=sum(answer.value is not None for answer in read.said.given),
        items=items,
    )
