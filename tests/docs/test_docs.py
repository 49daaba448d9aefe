"""What the documents say is true: every command in them runs, every name and link in them exists."""

import io
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
import pytest
import yaml
from PIL import Image
from sqlalchemy import select

from api.cli import reference
from api.demo import people
from api.demo.label_studio_server import LabelStudioServer
from labeling import campaigns, definitions, label_config
from sampling import recipes
from store.schema import Task
from store.workspace import open_workspace
from tests.commands import run
from tests.conftest import Builder

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(document: Path) -> list[str]:
    """The `$ winnow …` lines of a document, in order."""
    return re.findall(r"^\$ (winnow .*)$", document.read_text(), re.MULTILINE)


def test_the_reference_is_what_the_commands_say() -> None:
    assert (ROOT / "docs" / "commands.md").read_text() == "\n".join(reference.lines()) + "\n", (
        "Run: .venv/bin/python -m api.cli.reference > docs/commands.md"
    )


def test_the_recipe_in_the_tutorial_is_one() -> None:
    [text] = re.findall(r"```yaml\n(# nightly\.yaml\n.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), re.DOTALL)
    assert recipes.parse(yaml.safe_load(text)).budget == 40


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_and_target_named_exists(document: Path) -> None:
    known = set(re.findall(r"^## `(winnow [a-z -]*[a-z])", (ROOT / "docs" / "commands.md").read_text(), re.MULTILINE))
    named = re.findall(r"`(winnow (?:[a-z-]+ ?){1,3})", document.read_text()) + [
        re.match(r"winnow [a-z -]*", command)[0]  # type: ignore[index]
        for command in commands(document)
    ]
    for name in named:
        words = name.split()
        assert any(" ".join(words[:length]) in known for length in (2, 3, 4)), name
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"(?:`|^)make ([a-z-]+)", document.read_text(), re.MULTILINE):
        assert target in targets


def test_what_is_said_of_taxonomies_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = ROOT / "docs" / "taxonomies.md"
    [example] = re.findall(r"^```yaml\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "taxonomy.yaml").write_text(example)
    monkeypatch.chdir(tmp_path)
    Builder(open_workspace(tmp_path / "winnow-data")).images(17)  # the example's examples
    for command in [*commands(document), "winnow taxonomy create all --from-file taxonomy.yaml"]:
        done = run(*shlex.split(command)[1:])
        assert done.returncode == 0, f"{command}\n{done.stderr}"


@pytest.mark.label_studio
def test_what_is_said_of_adopting_runs(
    tmp_path: Path, label_studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = label_studio.token_file.read_text()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABEL_STUDIO_TOKEN", token)
    with httpx.Client(base_url=label_studio.url, headers={"Authorization": f"Token {token}"}, timeout=60) as http:
        asked = [{"name": "cat"}, {"name": "dog"}]
        config = label_config.render(definitions.parse({"kind": "classification", "classes": asked}))
        body = {"title": "Before Winnow", "label_config": config}
        project = http.post("/api/projects/", json=body).raise_for_status().json()["id"]
        for name in ("red", "blue"):
            stored = io.BytesIO()
            Image.new("RGB", (8, 8), name).save(stored, "PNG")
            file = {"file": (f"{name}.png", stored.getvalue(), "image/png")}
            http.post(f"/api/projects/{project}/import", files=file).raise_for_status()
        task = http.get("/api/tasks", params={"project": project}).json()["tasks"][0]["id"]
        answer = {"result": label_config.result("cat")}
        http.post(f"/api/tasks/{task}/annotations/", json=answer).raise_for_status()
    for words in prepared(commands(ROOT / "docs" / "adopting.md"), label_studio):
        command = [str(project) if before == "--ls-project" else word for before, word in pairwise(["", *words])]
        done = run(*command[1:])
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stderr}"
        if words[2] == "pull":
            assert done.stdout.startswith("street: 1 answers")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the tutorial's reader has: photos, a manifest, a recipe."""
    photos = tmp_path / "photos"
    photos.mkdir()
    generator = np.random.default_rng(0)
    for i in range(60):
        coarse = Image.fromarray(generator.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        picture = coarse.resize((64, 64), Image.Resampling.BICUBIC)
        picture = Image.blend(picture, Image.new("RGB", (64, 64), ("red", "blue")[i % 2]), 0.5)
        picture.save(photos / f"{i:02d}.png")
    more = tmp_path / "more"
    more.mkdir()
    with Image.open(photos / "07.png") as known:  # the same picture from another camera, and one that is new
        known.resize((96, 96), Image.Resampling.LANCZOS).save(more / "large.png")
    Image.fromarray(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(more / "new.png")
    (tmp_path / "photos.csv").write_text("uri,shift\n" + "".join(f"photos/{i:02d}.png,{i % 3}\n" for i in range(60)))
    (tmp_path / "nightly.yaml").write_text("budget: 5\n")
    (tmp_path / "winnow-data").mkdir()
    (tmp_path / "winnow-data" / "secret.key").write_text("7" * 64)  # decides who says what, so that some disagree
    return tmp_path


def answer(folder: Path, name: str, server: LabelStudioServer, login: tuple[str, str]) -> None:
    """The people of the tutorial say what each picture is: those with an even number are cats, not all clearly."""
    workspace = open_workspace(folder / "winnow-data")
    with workspace.database.read() as session:
        status = campaigns.status(session, name)
        graded = {
            uid: 0.4 + 0.2 * (image_id % 2 == 0) if image_id % 3 == 0 else float(image_id % 2 == 0)
            for uid, image_id in session.execute(select(Task.uid, Task.image_id))
        }
    assert status.ls_project_id is not None
    workers = list(people.ANNOTATORS[1:]) if status.purpose == "labelling" else [people.EXPERT]
    people.answer(
        server.url,
        status.ls_project_id,
        workers,
        admin=login,
        overlap=status.overlap,
        probability=graded.__getitem__,
        seed=3,
    )


def prepared(lines: list[str], server: LabelStudioServer) -> Iterator[list[str]]:
    for line in lines:
        yield shlex.split(line.replace("http://127.0.0.1:8080", server.url))


@pytest.mark.label_studio
@pytest.mark.timeout(1200)
def test_the_tutorial_runs(folder: Path, label_studio: LabelStudioServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LABEL_STUDIO_TOKEN", label_studio.token_file.read_text())
    for words in prepared(commands(ROOT / "docs" / "tutorial.md"), label_studio):
        if words[1:3] == ["campaign", "pull"]:
            answer(folder, words[3], label_studio, (label_studio.email, label_studio.password))
        done = run(*words[1:])
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
        assert done.stdout.strip(), f"{' '.join(words)} said nothing"
