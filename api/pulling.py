"""Answers are pulled while `winnow serve` runs: at once where Label Studio tells of a change, and now and then anyway.

Webhooks get lost and are never sent again, so they only say that it is time to look. Where answers made room at a
vendor, what waits is pushed.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from api import pushing
from labeling import pull
from store.errors import WinnowError
from store.schema import Campaign
from store.workspace import Workspace

Hint = Callable[[int], None]  # that a campaign, by its id, has news

_FINISH_S = 20  # what a running pull is given when the service stops

_log = logging.getLogger("winnow.pulling")


@contextmanager
def puller(workspace: Workspace, *, every_s: float) -> Iterator[Hint]:
    """Pull open campaigns in the background while the block lasts: those hinted at, and all of them every so often.

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
        self._said: dict[tuple[str, int], str] = {}  # the last trouble of each campaign, which is not said again

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
                wait = max(due - time.monotonic(), 0) if self._every_s else None
                self._wake.wait_for(lambda: self._stopped or self._hinted, timeout=wait)
                if self._stopped:
                    return
                hinted, self._hinted = self._hinted, set()
            everyone = self._every_s > 0 and time.monotonic() >= due
            with self._workspace.database.read() as session:
                campaigns = _open(session)
            for campaign_id, name in campaigns.items():
                if everyone or campaign_id in hinted:
                    self._try("pulled", partial(pull.pull, self._workspace, name), campaign_id, name)
            for campaign_id, name in campaigns.items():  # room at a vendor is for every campaign there
                self._try("topped up", partial(pushing.top_up, self._workspace, name), campaign_id, name)
            if everyone:
                due = time.monotonic() + self._every_s

    def _try(self, what: str, act: Callable[[], object], campaign_id: int, name: str) -> None:
        trouble = (what, campaign_id)
        try:
            act()
            self._said.pop(trouble, None)
        except WinnowError as error:
            if self._said.get(trouble) != str(error):
                _log.warning("The campaign %s was not %s: %s", name, what, error)
            self._said[trouble] = str(error)
        except Exception:
            _log.exception("The campaign %s was not %s.", name, what)


def _open(session: Session) -> dict[int, str]:
    """The names of campaigns that are under way, by id."""
    under_way = (Campaign.closed_at.is_(None), Campaign.ls_project_id.is_not(None))
    return dict(session.execute(select(Campaign.id, Campaign.name).where(*under_way).order_by(Campaign.id)).all())
