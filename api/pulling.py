"""Answers are pulled while `winnow serve` runs: at once where Label Studio tells of a change, and now and then anyway.

Webhooks get lost and are never sent again, so they only say that it is time to look. What a pull brought, here or by a
command, is reviewed, and what then wants another opinion is offered to one more person. Where answers made room at a
vendor, what waits is pushed.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session, aliased

from api import pushing
from labeling import opinions, pull
from qa import answers, verdicts
from store.errors import WinnowError
from store.schema import Annotation, Campaign, Task, Taxonomy
from store.workspace import Workspace

Hint = Callable[[int], None]  # that a campaign, by its id, has news

_FINISH_S = 20  # what a running pull is given when the service stops
_RETRY_S = 60  # after what failed
_SHARE = 10  # a campaign is reviewed for a tenth of the time at most

_log = logging.getLogger("winnow.pulling")


@contextmanager
def puller(workspace: Workspace, *, every_s: float) -> Iterator[Hint]:
    """Pull open campaigns in the background while the block lasts: those hinted at, and all of them every so often.

    Those that had news are reviewed, and when this starts, so are all: whoever ran before may have died in between.

    Args:
        workspace: whose campaigns.
        every_s: seconds between looks at all of them; 0 for hints alone.
    """
    pulling = _Puller(workspace, every_s)
    thread = threading.Thread(target=pulling.run, name="puller", daemon=True)
    thread.start()
    try:
        yield pulling.hint
    finally:
        pulling.stop()
        thread.join(timeout=_FINISH_S)


class _Puller:
    """What the thread does; hints that come while a campaign is pulled are one more pull."""

    def __init__(self, workspace: Workspace, every_s: float) -> None:
        self._workspace, self._every_s = workspace, every_s
        self._wake = threading.Condition()
        self._hinted: set[int] = set()
        self._stopped = False
        with workspace.database.read() as session:
            under_way = _open(session)
            self._unreviewed = {name for number, name in _reviewed(session).items() if number in under_way}
            self._seen_until = _newest(session)  # the annotation, whoever pulled it
        self._rests_until: dict[str, float] = {}  # from its last review on
        self._said: dict[tuple[str, str], str] = {}  # the last trouble of each campaign, which is not said again

    def hint(self, campaign_id: int) -> None:
        with self._wake:
            self._hinted.add(campaign_id)
            self._wake.notify()

    def stop(self) -> None:
        with self._wake:
            self._stopped = True
            self._wake.notify()

    def run(self) -> None:
        due = time.monotonic() + self._every_s
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._stopped or self._hinted, timeout=self._wait_s(due))
                if self._stopped:
                    return
                hinted, self._hinted = self._hinted, set()
            everyone = self._every_s > 0 and time.monotonic() >= due
            try:
                self._look(hinted, everyone=everyone)
            except Exception:  # whatever it is, the thread lives on
                _log.exception("Nothing was pulled for now.")
                with self._wake:
                    self._hinted |= hinted
                    self._wake.wait_for(lambda: self._stopped, timeout=_RETRY_S)
                continue
            if everyone:
                due = time.monotonic() + self._every_s

    def _look(self, hinted: set[int], *, everyone: bool) -> None:
        with self._workspace.database.read() as session:
            campaigns = _open(session)
        for campaign_id, name in campaigns.items():
            if everyone or campaign_id in hinted:
                self._try("pulled", partial(pull.pull, self._workspace, name), name)
        self._look_for_news()
        for name in sorted(self._unreviewed):
            if self._rests_until.get(name, 0) <= time.monotonic():
                self._try("reviewed", partial(self._review, name), name)
        for name in campaigns.values():  # room at a vendor is for every campaign there
            self._try("topped up", partial(pushing.top_up, self._workspace, name), name)

    def _wait_s(self, due: float) -> float | None:
        """How long until something is to be done without a hint."""
        moments = [self._rests_until.get(name, 0) for name in self._unreviewed] + [due] * bool(self._every_s)
        return max(min(moments) - time.monotonic(), 0) if moments else None

    def _look_for_news(self) -> None:
        """Note which campaigns got annotations since the last look, from here or from a command."""
        with self._workspace.database.read() as session:
            newest, reviewed = _newest(session), _reviewed(session)
            news = select(Task.campaign_id).join(Annotation, Annotation.task_id == Task.id).distinct()
            campaign_ids = session.scalars(news.where(Annotation.id > self._seen_until)).all()
        self._unreviewed |= {reviewed[campaign_id] for campaign_id in campaign_ids if campaign_id in reviewed}
        self._seen_until = newest

    def _review(self, name: str) -> None:
        started = time.monotonic()
        self._rests_until[name] = started + _RETRY_S
        verdicts.review(self._workspace, name)
        took = time.monotonic() - started
        opinions.offer(self._workspace, name)
        self._unreviewed.discard(name)
        self._rests_until[name] = started + took * _SHARE

    def _try(self, what: str, act: Callable[[], object], name: str) -> None:
        trouble = (what, name)
        try:
            act()
            self._said.pop(trouble, None)
        except WinnowError as error:
            if self._said.get(trouble) != str(error):
                _log.warning("The campaign %s was not %s: %s", name, what, error)
            self._said[trouble] = str(error)
        except Exception:
            _log.exception("The campaign %s was not %s.", name, what)


def _reviewed(session: Session) -> dict[int, str]:
    """Which labelling campaign answers to a campaign are about, where verdicts are made: itself, or what it settles."""
    about = case((Campaign.purpose.in_(answers.SETTLING), Campaign.parent_id), else_=Campaign.id)
    reviewed = aliased(Campaign)
    decided_on = (
        select(Campaign.id, reviewed.name)
        .join(reviewed, reviewed.id == about)
        .join(Taxonomy, Taxonomy.id == Campaign.taxonomy_id)
        .where(Taxonomy.task_kind != answers.UNDECIDED)
    )
    return dict(session.execute(decided_on).all())


def _newest(session: Session) -> int:
    """The id of the newest revision of any annotation."""
    return session.scalar(select(func.max(Annotation.id))) or 0


def _open(session: Session) -> dict[int, str]:
    """The names of campaigns that are under way, by id."""
    under_way = (Campaign.closed_at.is_(None), Campaign.ls_project_id.is_not(None))
    return dict(session.execute(select(Campaign.id, Campaign.name).where(*under_way).order_by(Campaign.id)).all())
