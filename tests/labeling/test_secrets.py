"""Secrets stay where they are kept, through a whole run in which much goes wrong."""

import base64
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from api import image_urls
from api.demo import people
from api.demo.label_studio_server import LabelStudioServer
from labeling import campaigns, webhooks
from store.schema import ImageId
from tests import commands
from tests.commands import WINNOW
from tests.labeling.conftest import Catalog, Site

pytestmark = pytest.mark.label_studio

_PATIENCE_S = 120
WRONG = "fedcba98" * 5


def forms(secret: str | bytes) -> list[bytes]:
    """How a secret might be written down."""
    raw = secret.encode() if isinstance(secret, str) else secret
    return [raw, raw.hex().encode(), base64.b64encode(raw), base64.urlsafe_b64encode(raw).rstrip(b"=")]


@pytest.fixture
def winnow(catalog: Catalog, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., bytes]:
    """Runs a command for people and for programs; says all it printed, after asserting its exit code."""

    def run(*arguments: str, code: int = 0) -> bytes:
        printed = b""
        for more in ((), ("--json",)):
            done = commands.winnow(catalog.workspace.home, *arguments, *more)
            printed += f"{done.stdout}{done.stderr}".encode() + b"".join(capfdbinary.readouterr())
            assert done.returncode == code, printed.decode()
        return printed

    return run


def log_of_serve(catalog: Catalog, folder: Path, *, until: bytes) -> bytes:
    """What `winnow serve` says and logs until it says `until`."""
    command = [WINNOW, "--home", catalog.workspace.home, "serve", "--port", "0", "--pull-every", "0.2"]
    log = folder / "serve.log"
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            deadline = time.monotonic() + _PATIENCE_S
            while until not in log.read_bytes():
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        finally:
            process.kill()
    return log.read_bytes()


def test_no_secret_is_said_or_kept(
    catalog: Catalog, site: Site, label_studio: LabelStudioServer, winnow: Callable[..., bytes], tmp_path: Path
) -> None:
    admin = (label_studio.email, label_studio.password)
    with closing(people.join(label_studio.url, people.Person("vendor", 1.0), admin=admin)) as own:
        token = own.headers["Authorization"].removeprefix("Token ")
    (tmp_path / "token").write_text(token)
    (tmp_path / "wrong").write_text(WRONG)

    def vendor(url: str, file: str) -> bytes:
        return winnow("vendor", "add", "acme", "--url", url, "--token", f"file:{tmp_path / file}", "--capacity", "2")

    name, base = catalog.name, ("--image-base-url", "http://127.0.0.1:1")
    batch = catalog.build.batch(catalog.build.images(4))
    said = vendor(label_studio.url, "token")
    said += winnow("campaign", "create", name, f"--batch={batch}", "--taxonomy=animals", "--vendor=acme")
    said += vendor(label_studio.url, "wrong")
    said += winnow("campaign", "push", name, *base, code=1)
    said += vendor("http://127.0.0.1:1", "token")
    said += winnow("campaign", "push", name, *base, code=1)
    said += vendor(label_studio.url, "token")
    said += winnow("campaign", "push", name, *base)
    tasks = site.tasks(name)
    site.answer(tasks[0]["id"], "cat")
    said += winnow("campaign", "pull", name)
    for url, file in ((label_studio.url, "wrong"), ("http://127.0.0.1:1", "token")):
        said += vendor(url, file)
        said += winnow("campaign", "pull", name, code=1)
        said += winnow("campaign", "status", name)
        said += winnow("campaign", "reconcile", name, code=1)
        said += log_of_serve(catalog, tmp_path, until=b"was not pulled: Label Studio")
        said += winnow("campaign", "cancel", name, code=1) if url.endswith(":1") else b""
    said += vendor(label_studio.url, "token")
    said += winnow("campaign", "status", name)
    said += winnow("campaign", "list") + winnow("vendor", "list") + winnow("status")
    said += winnow("verify", code=1)  # no file stands behind the images
    [hook] = site.call("GET", "/api/webhooks/", params={"project": site.projects(name)[0]["id"]})
    said += winnow("campaign", "cancel", name)
    with catalog.workspace.database.read() as session:
        campaign_id = campaigns.get(session, name).id
    assert token.encode() not in str(hook).encode()
    key_file = catalog.workspace.home / "secret.key"
    secrets = [
        token,
        label_studio.token_file.read_text(),
        label_studio.password,
        WRONG,
        hook["headers"][webhooks.HEADER],
        catalog.workspace.key,
    ]
    assert webhooks.is_genuine(catalog.workspace.key, campaign_id, secrets[4])
    kept = {
        path: path.read_bytes() for path in catalog.workspace.home.rglob("*") if path.is_file() and path != key_file
    }
    assert {"winnow.db", "winnow.db-wal"} <= {path.name for path in kept}
    for secret in secrets:
        for form in forms(secret):
            assert form not in said
            assert [path for path, content in kept.items() if form in content] == []
    links = {task["data"]["image"].rpartition("/")[2] for task in tasks}
    assert len(links) == 2
    for content in (said, *kept.values()):
        assert not any(link.encode() in content for link in links)
        assert not re.search(rb"/images/[\w-]{64}", content)


def test_this_test_knows_a_link_when_it_sees_one(catalog: Catalog) -> None:
    link = image_urls.signer(catalog.workspace.key, "http://127.0.0.1:1")(ImageId(1))
    assert re.search(rb"/images/[\w-]{64}", link.encode())
