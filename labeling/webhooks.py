"""Where Label Studio tells of changes, which is a hint to pull, and how we know that it is Label Studio."""

import hashlib
import hmac

from labeling.push import Webhook

HEADER = "X-Winnow-Secret"


def of_campaign(key: bytes, base_url: str, campaign_id: int) -> Webhook:
    """The webhook of a campaign at a `winnow serve` that Label Studio reaches at `base_url`."""
    return Webhook(f"{base_url.rstrip('/')}/v1/hooks/{campaign_id}", {HEADER: _secret(key, campaign_id)})


def is_genuine(key: bytes, campaign_id: int, secret: str) -> bool:
    """Whether `secret` is what this workspace gave Label Studio for the campaign."""
    return hmac.compare_digest(secret.encode(), _secret(key, campaign_id).encode())


def _secret(key: bytes, campaign_id: int) -> str:
    return hmac.digest(key, f"hook/{campaign_id}".encode(), hashlib.sha256).hex()
