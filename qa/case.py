"""What a review of a campaign reads, and what it makes of the answers to one item."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation import labels
from labeling import campaigns
from qa import answers, views
from qa.answers import Answer, Answers
from qa.overlap import Gain, Rules
from qa.views import Seen
from store.arrays import Floats
from store.errors import InvalidInputError, NotFoundError
from store.schema import Campaign, Task, Taxonomy, Vendor, Verdict
from store.workspace import Workspace

ACCEPT_AT = 0.9
TOLD = 0.01  # a chance above is named in the verdict
NEW = 0  # in place of an annotator's id: somebody who has not answered anything yet


@dataclass(frozen=True)
class Belief:
    """What items are, as all that is known tells: N of them as in `Answers.task_ids`, A people as `Case.annotators`."""

    sure: Floats  # (N,) how right the likeliest value is expected to be, 0 to 1
    accuracy: Floats  # (A,) the chance that somebody says what is so; of regions, that they draw a thing that is there
    gain: Gain  # by how much somebody's answer is expected to raise `sure`
    likeliest: Callable[[int], tuple[str, dict[str, Any]]]  # value of an item, see `qa.answers.read`, and why
    model: str | None = None  # what was heard beside the people
    precision: Floats | None = None  # (A,) of regions: the chance that what somebody draws is there


@dataclass(frozen=True)
class Finding:
    """What the answers to an item come to."""

    outcome: str
    likeliest: str  # value, see `qa.answers.read`
    posterior: float
    reasons: dict[str, Any]  # what else is to be said of it in the verdict


@dataclass(frozen=True)
class Findings:
    """What the answers to all items of a campaign come to."""

    of: Mapping[int, Finding]  # by task id
    accuracy: Mapping[int, float]  # by annotator id, see `Belief`
    precision: Mapping[int, float] | None  # likewise
    model: str | None  # what was heard beside the people


@dataclass(frozen=True)
class Case:
    """All that a review reads."""

    campaign: Campaign
    said: Answers
    tasks: list[int]  # of the campaign, ascending: all of them, so that the same places are audited every time
    image_of: dict[int, int]  # what those of them show that are decided, by rank
    has_ended: bool  # closed or called off: nobody can be asked any more
    people: dict[int, str]  # who else can: names by annotator id
    seen: set[tuple[int, int]]  # which task was before which annotator
    items: Seen | None  # what is embedded of all items of the taxonomy
    accept_at: float
    price: float | None  # of an answer

    @cached_property
    def annotators(self) -> list[int]:
        """Who answered, then who else can be asked, and last `NEW`: ids by their number."""
        answered = self.said.annotator_ids
        return [*answered, *sorted(self.people.keys() - set(answered)), NEW]

    @cached_property
    def looks(self) -> Mapping[int, Sequence[Answer]]:
        """The answers to each item that is decided, skips among them."""
        heard: dict[int, list[Answer]] = {task_id: [] for task_id in self.image_of}
        for answer in self.said.given:
            if answer.task_id in heard:
                heard[answer.task_id].append(answer)
        return heard

    @cached_property
    def aside(self) -> Counter[int]:
        """How many answers to each task count for nothing, as somebody is paused."""
        return Counter(answer.task_id for answer in self.said.aside if not answer.skipped)

    @property
    def most_answers(self) -> int:
        """That an item may get: as the rules allow; under a fixed overlap that many, or as rules usually allow."""
        rules = self.campaign.adaptive
        return max(self.campaign.overlap, Rules.most_answers) if rules is None else int(rules["most_answers"])

    @property
    def policy(self) -> dict[str, Any]:
        """What a verdict was decided by: it is decided anew by another one."""
        if self.campaign.adaptive is None:
            return {"overlap": self.campaign.overlap, "accept_at": self.accept_at}
        return {"overlap": "adaptive", **self.campaign.adaptive}


def read(workspace: Workspace, session: Session, campaign_name: str, accept_at: float | None) -> Case:
    """The campaign and every answer under its taxonomy.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: it is an adjudication, or `accept_at` is said of an adaptive campaign.
    """
    campaign = answers.labelling_campaign(session, campaign_name)
    if campaign.adaptive is not None and accept_at is not None:
        raise InvalidInputError(
            f"{campaign_name!r} is adaptive: it accepts as its target error of {campaign.adaptive['target_error']:g} "
            "allows. Leave --accept-at out."
        )
    taxonomy = session.get_one(Taxonomy, campaign.taxonomy_id)
    said = answers.read(session, taxonomy)
    of_campaign = select(Task.id, Task.image_id, Task.state).where(Task.campaign_id == campaign.id)
    tasks = session.execute(of_campaign.order_by(Task.id)).all()
    ranked = session.execute(of_campaign.where(Task.state != "withdrawn").order_by(Task.rank))
    case = Case(
        campaign=campaign,
        said=said,
        tasks=[task_id for task_id, _, _ in tasks],
        image_of={task_id: image_id for task_id, image_id, _ in ranked if task_id not in said.gold},
        has_ended=campaign.closed_at is not None or campaign.cancelled_at is not None,
        people=answers.people(session, campaign),
        seen=answers.seen(session, campaign),
        items=_embedded(workspace, session, said) if taxonomy.task_kind == labels.CLASSIFICATION else None,
        accept_at=accept_at or _last_accept_at(session, campaign) or ACCEPT_AT,
        price=session.get_one(Vendor, campaign.vendor_id).prices.get(taxonomy.task_kind),
    )
    session.expunge(campaign)
    return case


def _last_accept_at(session: Session, campaign: Campaign) -> float | None:
    """What the newest verdict of a fixed overlap was decided by; of a rework that nobody reviewed, in its parent."""
    of_campaign = campaigns.standing_verdicts(Task.campaign_id == campaign.id, Task.state != "withdrawn")
    said = func.json_extract(Verdict.evidence, "$.policy.accept_at")
    by_age = select(said).where(Verdict.id.in_(of_campaign), said.is_not(None)).order_by(Verdict.id.desc())
    found: float | None = session.scalar(by_age.limit(1))
    if found is None and campaign.parent_id is not None:
        return _last_accept_at(session, session.get_one(Campaign, campaign.parent_id))
    return found


def _embedded(workspace: Workspace, session: Session, said: Answers) -> Seen | None:
    """What a probe can see of the items; none where nothing is embedded."""
    try:
        found = views.of_images(workspace, session, said.image_ids)
    except NotFoundError:
        return None
    return found if found.has_vector.any() else None
