import json
import signal
import socket
import subprocess
import sys
import time

import httpx
import psutil
import pytest
from PIL import Image
from sqlalchemy import select

from store import schema

_WINNOW = [sys.executable, "-c", "from api.cli.main import run; run()"]


def up_to_the_brace(lines):
    """The JSON document at the head of an output that stays open."""
    for line in lines:
        yield line
        if line == "}\n":
            return


def test_ctrl_c_ends_everything_it_started(workspace, build, tmp_path):
    build.images(2)
    with workspace.database.write() as session:
        for sighting in session.scalars(select(schema.Sighting)):
            sighting.uri = str(tmp_path / f"{sighting.id}.png")
            Image.new("RGB", (8, 8)).save(sighting.uri)
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        command = subprocess.Popen(
            [*_WINNOW, "explore", "--home", str(workspace.home), "--port", str(port), "--no-open", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            document = json.loads("".join(up_to_the_brace(command.stdout)))
            started = psutil.Process(command.pid).children(recursive=True)
            assert len(started) == 2
            assert document["images"] == 2
            assert f":{port}/" not in document["url"]
            assert httpx.get(document["url"]).is_success
            command.send_signal(signal.SIGINT)
            _, messages = command.communicate(timeout=60)
        finally:
            command.kill()
            command.wait()
    assert command.returncode == 0
    assert f"Port {port} is busy" in messages
    assert not [process for process in started if process.is_running()]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ended_while_it_starts_it_leaves_nothing_either(workspace, build, ending):
    build.images(1)
    command = subprocess.Popen(
        [*_WINNOW, "--home", str(workspace.home), "explore"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    started: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 60
        while len(started) < 2 and time.monotonic() < deadline:  # MongoDB, and what builds the dataset
            started = psutil.Process(command.pid).children(recursive=True)
        command.send_signal(ending)
        command.communicate(timeout=60)
    finally:
        command.kill()
        command.wait()
    assert command.returncode == 0
    assert len(started) == 2
    assert not [process for process in started if process.is_running()]


def test_an_empty_catalog_is_a_sentence(workspace):
    result = subprocess.run(
        [*_WINNOW, "--home", str(workspace.home), "explore"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (2, "")
    assert "There is no image to explore yet. Run: winnow ingest FOLDER." in result.stderr
