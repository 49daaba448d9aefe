"""What adjudicators decide on the command line and in the dashboard: rows that the next review makes verdicts of."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation import labels
from labeling import reasons
from qa import adjudication, answers
from store.errors import InvalidInputError, NotFoundError
from store.schema import Campaign, Decision, Task, Taxonomy
from store.workspace import Workspace

_LONGEST = 2000  # letters of a comment
_MOST_DIGITS = 18  # of an id


@dataclass(frozen=True)
class Decided:
    """A decision as it was kept."""

    id: int
    campaign: str
    task: int
    image: int
    answer: str | None
    words: str | None  # the same, for people
    reason: str
    comment: str
    author: str
    replaced: int  # earlier decisions on the item, which are kept too


def decide(
    workspace: Workspace,
    campaign_name: str,
    item: str,
    *,
    answer: str | None,
    reason: str,
    author: str,
    comment: str = "",
) -> Decided:
    """Say what an item of a campaign is, and why; of several decisions the newest is in force.

    Args:
        workspace: holds the catalog.
        campaign_name: a labelling campaign.
        item: the image's id, or `task:` and the task's.
        answer: the class; where more than one class is asked for, a value that the item's `adjudication.offers` hold:
            anything else is said in Label Studio. None where it cannot be decided, which rejects the item.
        reason: a code of `labeling.reasons`.
        author: who decides.
        comment: anything to add.

    Raises:
        NotFoundError: there is no such campaign or item.
        InvalidInputError: no such class or reason, no class for a reason that needs one, a withdrawn item, gold, or
            a nameless author.
    """
    reasons.check(reason)
    if answer is None and reason not in reasons.UNDECIDABLE:
        undecidable = ", ".join(reasons.UNDECIDABLE)
        raise InvalidInputError(f"Without a class the reason is one of {undecidable}, not {reason}.")
    author, comment = author.strip(), comment.strip()
    if not author:
        raise InvalidInputError("A decision needs to know whose it is: give a name.")
    if len(comment) > _LONGEST:
        raise InvalidInputError(f"The comment has {len(comment)} letters; keep it under {_LONGEST}.")
    with workspace.database.read() as session:  # all answers there are may be read: nobody waits for that
        campaign = answers.labelling_campaign(session, campaign_name)
        taxonomy = session.get_one(Taxonomy, campaign.taxonomy_id)
        task = _task(session, campaign, item)
        if answer is not None:
            _check_answer(session, campaign, taxonomy, task, answer)
        if task.state == "withdrawn":
            raise InvalidInputError(f"Image {task.image_id} was withdrawn from {campaign_name!r}: it gets no verdict.")
        if task.id in answers.gold(session, taxonomy):
            raise InvalidInputError(f"Image {task.image_id} is gold in {campaign_name!r}: what it is was known before.")
        task_id, image_id, kind = task.id, task.image_id, taxonomy.task_kind
    with workspace.database.write() as session:
        earlier = session.scalar(select(func.count(Decision.id)).where(Decision.task_id == task_id)) or 0
        row = Decision(task_id=task_id, answer=answer, reason=reason, comment=comment, author=author)
        session.add(row)
        session.flush()
        return Decided(
            id=row.id,
            campaign=campaign_name,
            task=task_id,
            image=image_id,
            answer=answer,
            words=None if answer is None else labels.in_words(answer, kind),
            reason=reason,
            comment=comment,
            author=author,
            replaced=earlier,
        )


def _check_answer(session: Session, campaign: Campaign, taxonomy: Taxonomy, task: Task, answer: str) -> None:
    """Only a class of the taxonomy, or what is offered where more than one class is asked for, decides."""
    if taxonomy.task_kind == labels.CLASSIFICATION:
        classes = [str(each["name"]) for each in taxonomy.classes]
        if answer not in classes:
            raise InvalidInputError(f"{answer!r} is no class; the classes are {', '.join(classes)}.")
    elif answer not in adjudication.offers(session, campaign, task.id):
        raise InvalidInputError(
            f"{campaign.name!r} asks for {taxonomy.task_kind}: decide for one of the suggestions of winnow qa queue "
            f"{campaign.name} --json, or answer in Label Studio: winnow qa adjudicate {campaign.name}"
        )


def _task(session: Session, campaign: Campaign, item: str) -> Task:
    """The item of a campaign that is meant."""
    number = item.removeprefix("task:")
    if not number.isdecimal() or len(number) > _MOST_DIGITS:
        raise InvalidInputError(f"{item!r} names no item: give an image's id, or task: and the task's id.")
    column = Task.id if item.startswith("task:") else Task.image_id
    task = session.scalar(select(Task).where(Task.campaign_id == campaign.id, column == int(number)))
    if task is None:
        raise NotFoundError(f"{campaign.name!r} has no item {item}. See: winnow qa queue {campaign.name}.")
    return task
