"""`encoders`, `embeddings`, `index` and `search` at the command line."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from api.cli.main import app
from curation import ivf
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.schema import ImageId
from store.workspace import Workspace
from tests.api.cli.conftest import winnow


def test_of_many_unreadable_images_a_few_are_said(build: Any, workspace: Workspace) -> None:
    build.images(23)  # no file stands behind them
    result = CliRunner().invoke(app, ["--home", str(workspace.home), "embed"], catch_exceptions=False)
    assert result.stdout.count("  The file of image ") == 20
    assert "  … and 3 more. --json tells all of them." in result.stdout
    assert len(winnow(workspace, "embed")["unreadable"]) == 23


@pytest.fixture
def imported(build: Any, workspace: Workspace, tmp_path: Path) -> Workspace:
    """Four images with vectors on a square."""
    build.images(4)
    uris = [f"/photos/{i}.png" for i in range(4)]
    np.savez(tmp_path / "ours.npz", uri=uris, vectors=np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], dtype=np.float32))
    winnow(workspace, "embeddings", "import", str(tmp_path / "ours.npz"), "--encoder", "ours")
    return workspace


def test_imported_vectors_are_listed_and_searched(imported: Workspace) -> None:
    used, *known = winnow(imported, "encoders", "list")["encoders"]
    assert (used["name"], used["dimensions"], used["embedded"]) == ("ours", 2, 4)
    assert {one["name"] for one in known} >= {"efficientnet-lite0", "onnx:FILE", "hf:ID_OR_FOLDER"}
    near = winnow(imported, "search", "--like", "1", "-k", "2", "--encoder", "ours")["neighbours"]
    assert [(one["image"], one["uris"]) for one in near] == [(2, ["/photos/1.png"]), (4, ["/photos/3.png"])]
    between = winnow(imported, "search", "--like", "1", "--like", "2", "--unlike", "4")["neighbours"]
    assert [one["image"] for one in between] == [3]
    only = winnow(imported, "search", "--like", "1", "--where", 'uri == "/photos/2.png"')["neighbours"]
    assert [(one["image"], round(one["cosine"], 4)) for one in only] == [(3, -1.0)]


def test_the_index_says_how_it_searches(imported: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    status = winnow(imported, "index", "status")
    assert (status["rows"], status["report"], status["due"]) == (4, None, False)
    with pytest.raises(ConflictError, match="searched exactly faster"):
        winnow(imported, "index", "build")
    monkeypatch.setattr(ivf, "_HELD_OUT", 2)
    monkeypatch.setattr(ivf, "EXACT_FLOATS", 4)
    assert winnow(imported, "index", "status")["due"]
    built = winnow(imported, "index", "build")
    assert (built["tail"], built["due"], built["report"]["recall"]) == (0, False, 1.0)


def test_the_last_build_that_failed_is_told(imported: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ivf, "_HELD_OUT", 2)
    with monkeypatch.context() as patch:
        patch.setattr(ivf, "train", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            winnow(imported, "index", "build")
    assert winnow(imported, "index", "status")["failure"]["reason"] == "OSError: [Errno 28] No space left on device"
    told = CliRunner().invoke(app, ["--home", str(imported.home), "index", "status"]).stdout.splitlines()
    assert [line for line in told if line.startswith("The last build failed (20")] == [told[-1]]
    assert "No space left on device" in told[-1]
    winnow(imported, "index", "build")
    assert winnow(imported, "index", "status")["failure"] is None


def test_what_cannot_be_searched_is_said(imported: Workspace, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for arguments, complaint in (
        (["--image", str(tmp_path / "pipe")], "is not a plain file"),
        (["--image", str(tmp_path)], "is not a plain file"),
        (["--image", str(tmp_path / "nothing.png")], "There is no file"),
        (["--like", "99999999999999999999999"], "There is no image 9"),
        (["--like", "5"], "There is no image 5. See: winnow images list"),
        (["--like", "1", "--unlike", "-1"], "There is no image -1"),
        (["--text", "a cat"], "searched by images of the catalog only"),
        (["--like", "1", "--where", "uri =="], "uri"),
        ([], "Say what to be near"),
    ):
        with pytest.raises((InvalidInputError, NotFoundError), match=complaint):
            winnow(imported, "search", *arguments)


def test_the_default_is_the_encoder_that_has_seen_the_most(imported: Workspace, build: Any, tmp_path: Path) -> None:
    build.vectors([ImageId(1), ImageId(2)], np.eye(2), name="few")
    assert winnow(imported, "index", "status")["encoder"] == "ours"
    assert winnow(imported, "index", "status", "--encoder", "few")["encoder"] == "few"
    assert [one["image"] for one in winnow(imported, "search", "--like", "3", "-k", "1")["neighbours"]] == [2]
    (stage,) = [one for one in winnow(imported, "status")["stages"] if one["name"] == "Embedded"]
    assert (stage["count"], stage["detail"]) == (4, "by ours")
    build.vectors([ImageId(3), ImageId(4)], np.eye(2), name="few")
    assert winnow(imported, "index", "status")["encoder"] == "few"


def test_status_says_how_many_images_are_not_embedded(workspace: Workspace, build: Any) -> None:
    ids = build.images(5)
    build.vectors(ids[:3], np.eye(3), name="ours")
    (stage,) = [one for one in winnow(workspace, "status")["stages"] if one["name"] == "Embedded"]
    assert (stage["count"], stage["detail"]) == (3, "by ours · 2 images not yet")
    result = CliRunner().invoke(app, ["--home", str(workspace.home), "status"])
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("Embedded")]
    assert line.split() == ["Embedded", "3", "by", "ours", "·", "2", "images", "not", "yet"]
