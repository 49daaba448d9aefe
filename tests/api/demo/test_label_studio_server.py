import re
import socket
import stat
from pathlib import Path

import httpx
import psutil
import pytest

from api.demo import label_studio_server
from api.demo.label_studio_server import LabelStudioServer
from store.errors import ConflictError

pytestmark = pytest.mark.label_studio


def test_the_administrator_logs_in_with_a_browser(label_studio: LabelStudioServer) -> None:
    with httpx.Client(base_url=label_studio.url, timeout=60, follow_redirects=True) as browser:
        form = browser.get("/user/login/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
        assert token
        login = {"email": label_studio.email, "password": label_studio.password, "csrfmiddlewaretoken": token[1]}
        assert browser.post("/user/login/", data=login | {"password": "wrong"}).url.path == "/user/login/"
        assert browser.post("/user/login/", data=login).url.path != "/user/login/"
        assert browser.get("/api/current-user/whoami").json()["email"] == label_studio.email


def test_the_login_is_random_and_private(label_studio: LabelStudioServer) -> None:
    folder = label_studio.token_file.parent
    token = label_studio.token_file.read_text()
    for secret in (folder / "token", folder / "login.json"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert re.fullmatch("[0-9a-f]{40}", token)
    log = (folder.parent / "label-studio.log").read_text()
    assert token not in log
    assert label_studio.password not in log
    _, migrated = label_studio_server.prepare()
    assert not (migrated / ".env").exists()  # nor any user: a copy gets its own key and login


def test_nobody_signs_up_without_an_invitation(label_studio: LabelStudioServer) -> None:
    with httpx.Client(base_url=label_studio.url, timeout=60) as browser:
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', browser.get("/user/signup/").text)
        assert token
        stranger = {"email": "stranger@winnow.example", "password": "a-long-password", "csrfmiddlewaretoken": token[1]}
        assert browser.post("/user/signup/", data=stranger).status_code == 403


def test_one_folder_has_one_server(label_studio: LabelStudioServer, tmp_path: Path) -> None:
    with pytest.raises(ConflictError, match="already"):
        label_studio_server.start(label_studio.token_file.parent, log=tmp_path / "log", port=0)


def test_a_busy_port_is_noticed_and_nothing_is_left_after_the_stop(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        server = label_studio_server.start(tmp_path / "server", log=tmp_path / "log", port=port)
        try:
            assert server.server.port != port
            assert httpx.get(f"{server.url}/health", timeout=60).json() == {"status": "UP"}
            processes = [server.server.process, *psutil.Process(server.server.process.pid).children(recursive=True)]
        finally:
            server.stop()
            server.stop()
    assert [process.pid for process in processes if psutil.pid_exists(process.pid)] == []
