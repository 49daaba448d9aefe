"""Where Label Studio tells of changes, which is a hint to pull, and how we know that it is Label Studio."""

import hashlib
import hmac
from dataclasses import dataclass

from labeling import campaigns, label_studio, vendors
from store.workspace import Workspace

HEADER = "X-Winnow-Secret"


@dataclass(frozen=True)
class Webhook:
    """Where a server is to tell of changes."""

    url: str
    headers: dict[str, str]  # a secret that shows who calls


def path(campaign_id: int) -> str:
    """Where a campaign's webhook is at any `winnow serve`."""
    return f"/v1/hooks/{campaign_id}"


def of_campaign(key: bytes, base_url: str, campaign_id: int) -> Webhook:
    """The webhook of a campaign at a `winnow serve` that Label Studio reaches at `base_url`."""
    return Webhook(base_url.rstrip("/") + path(campaign_id), {HEADER: _secret(key, campaign_id)})


def remove(workspace: Workspace, campaign_name: str) -> None:
    """Let Label Studio tell nobody of a campaign's changes any more; again is a no-op.

    Raises:
        NotFoundError: there is no such campaign.
        InvalidInputError: the token is not there.
        RemoteError: Label Studio failed or refused; the same continues.
    """
    with workspace.database.read() as session:
        terms = campaigns.terms(session, campaign_name)
    if terms.ls_project_id is None:
        return
    with label_studio.connect(terms.ls_url, vendors.token(terms.ls_token_reference)) as server:
        project = server.project(terms.ls_project_id)
        if project is not None and terms.marker in project.description:
            server.remove_webhooks(project.ls_project_id, path(terms.id))


def is_genuine(key: bytes, campaign_id: int, secret: str) -> bool:
    """Whether `secret` is what this workspace gave Label Studio for the campaign."""
    return hmac.compare_digest(secret.encode(), _secret(key, campaign_id).encode())


def _secret(key: bytes, campaign_id: int) -> str:
    return hmac.digest(key, f"hook/{campaign_id}".encode(), hashlib.sha256).hex()
