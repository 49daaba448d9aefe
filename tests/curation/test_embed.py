"""The embedding pipeline, and what is restored of what it wrote."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from sklearn.datasets import load_sample_image

from curation import embed, encoders, index, integrity, originals
from curation.decode import decode
from curation.embed import Dtype
from curation.encoders.preprocessing import Preprocessing
from curation.ingest import ingest
from curation.search import Query, search
from store import vectors
from store.errors import ConflictError, NotFoundError
from store.schema import ImageId
from store.workspace import Workspace

COLOURS = [(200, 0, 0), (190, 10, 0), (0, 200, 0), (0, 0, 200), (0, 10, 190)]


class MeanColour:
    """An encoder anyone can check by hand."""

    name = encoders.DEFAULT
    dimensions = 3
    digest = "c" * 64
    preprocessing = Preprocessing(4, 4)

    def prepare(self, picture: Pillow.Image) -> np.ndarray:
        return self.preprocessing.apply(picture)

    def encode(self, inputs: np.ndarray) -> np.ndarray:
        return inputs.mean(axis=(2, 3))


@pytest.fixture
def photos(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five flat pictures in the catalog: red, nearly red, green, blue, nearly blue."""
    monkeypatch.setattr(encoders, "get", lambda name, models_dir: MeanColour())
    folder = tmp_path / "photos"
    folder.mkdir()
    for position, colour in enumerate(COLOURS):
        Pillow.new("RGB", (6, 5), colour).save(folder / f"{position}.png")
    ingest(workspace, [str(folder)])
    return folder


def test_everything_is_embedded_once(workspace: Workspace, photos: Path) -> None:
    assert embed.embed(workspace).embedded == 5
    again = embed.embed(workspace)
    assert (again.embedded, again.already) == (0, 5)


def test_a_missing_file_is_said_and_embedded_once_it_is_back(
    workspace: Workspace, photos: Path, tmp_path: Path
) -> None:
    shutil.move(photos / "0.png", tmp_path / "0.png")
    summary = embed.embed(workspace)
    assert summary.embedded == 4
    assert len(summary.unreadable) == 1
    shutil.move(tmp_path / "0.png", photos / "0.png")
    assert embed.embed(workspace).embedded == 1


def test_what_a_larger_limit_let_in_is_embedded(
    workspace: Workspace, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(decode.__kwdefaults__, "max_pixels", 29)
    summary = embed.embed(workspace)
    assert (summary.embedded, summary.unreadable) == (5, [])
    with workspace.database.read() as session:
        assert {one.max_pixels for one in originals.find(session)} == {200_000_000}
        monkeypatch.setattr("curation.originals.MAX_PIXELS", 29)
        assert {one.max_pixels for one in originals.find(session)} == {30}


def test_blocks_and_batches_leave_nothing_out(
    workspace: Workspace, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "_BATCH", 2)
    monkeypatch.setattr(embed, "_BLOCK", 3)
    seen: list[tuple[int, int]] = []
    assert embed.embed(workspace, on_progress=lambda done, total: seen.append((done, total))).embedded == 5
    assert seen[-1] == (5, 5)
    with workspace.database.read() as session:
        encoder = embed.find_encoder(session)
        image_ids, values = vectors.load(workspace.vectors_dir, session, encoder)
    colours = dict(zip(image_ids.tolist(), values.tolist(), strict=True))
    assert np.allclose([colours[i] for i in range(1, 6)], np.array(COLOURS) / 255, atol=1e-6)


def test_an_interrupted_pass_continues(workspace: Workspace, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "_BATCH", 1)
    monkeypatch.setattr(embed, "_BLOCK", 1)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed.embed(workspace, on_progress=stop)
    again = embed.embed(workspace)
    assert (again.embedded, again.already) == (3, 2)
    assert all(check.ok for check in integrity.verify(workspace))


def test_two_passes_at_once_do_no_harm(workspace: Workspace, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "_BATCH", 1)
    monkeypatch.setattr(embed, "_BLOCK", 1)
    within: list[int] = []

    def another(done: int, total: int) -> None:
        if not within:
            within.append(done)
            within.append(embed.embed(workspace).embedded)

    first = embed.embed(workspace, on_progress=another)
    assert (first.embedded, within[1]) == (1, 4)
    assert all(check.ok for check in integrity.verify(workspace))
    with workspace.database.read() as session:
        image_ids, _ = vectors.load(workspace.vectors_dir, session, embed.find_encoder(session))
    assert sorted(image_ids.tolist()) == [1, 2, 3, 4, 5]


def test_a_picture_that_gives_nan_does_not_stop_the_others(
    workspace: Workspace, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Blind(MeanColour):
        def encode(self, inputs: np.ndarray) -> np.ndarray:
            colours = super().encode(inputs)
            colours[colours[:, 1] > 0.5] = np.nan
            return colours

    monkeypatch.setattr(encoders, "get", lambda name, models_dir: Blind())
    summary = embed.embed(workspace)
    assert summary.embedded == 4
    assert summary.unreadable == [f"Image 3 gives NaN or infinity, or too large numbers, under {encoders.DEFAULT}."]


@pytest.mark.parametrize(
    "case",
    [(1e30, "float32", "too large"), (0.0, "float32", "no direction"), (1e-9, "float16", "no direction")],
)
def test_a_vector_nothing_can_be_compared_with_does_not_stop_the_others(
    workspace: Workspace, photos: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[float, Dtype, str]
) -> None:
    factor, dtype, complaint = case

    class Odd(MeanColour):
        def encode(self, inputs: np.ndarray) -> np.ndarray:
            colours = super().encode(inputs)
            colours[colours[:, 1] > 0.5] *= factor
            return colours

    monkeypatch.setattr(encoders, "get", lambda name, models_dir: Odd())
    summary = embed.embed(workspace, dtype=dtype)
    assert summary.embedded == 4
    (sentence,) = summary.unreadable
    assert sentence.startswith("Image 3 gives")
    assert complaint in sentence
    assert len(search(workspace, Query(like=[ImageId(1)]))) == 3


def test_vectors_may_be_kept_in_half_the_room(workspace: Workspace, photos: Path) -> None:
    embed.embed(workspace, dtype="float16")
    (path,) = workspace.vectors_dir.iterdir()
    assert path.stat().st_size == 5 * 3 * 2
    assert embed.embed(workspace).already == 5
    with pytest.raises(ConflictError, match="kept as float16 already, not as float32"):
        embed.embed(workspace, dtype="float32")


def test_two_encoders_never_share_a_vector(workspace: Workspace, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Newer(MeanColour):
        digest = "d" * 64

        def encode(self, inputs: np.ndarray) -> np.ndarray:
            return 1 - super().encode(inputs)

    embed.embed(workspace)
    monkeypatch.setattr(encoders, "get", lambda name, models_dir: Newer())
    (photos / "5.png").write_bytes((photos / "0.png").read_bytes())
    Pillow.new("RGB", (6, 5), (9, 9, 9)).save(photos / "6.png")
    ingest(workspace, [str(photos)])
    assert embed.embed(workspace).embedded == 6  # under a new digest, so all of them
    with workspace.database.read() as session:
        newest = embed.find_encoder(session)
        assert newest.digest == Newer.digest
        _, values = vectors.load(workspace.vectors_dir, session, newest)
    assert values.shape == (6, 3)
    assert {path.name for path in workspace.vectors_dir.iterdir()} == {"c" * 64 + ".f32", "d" * 64 + ".f32"}


def test_a_large_jpeg_is_decoded_at_a_fraction(models_dir: Path) -> None:
    picture = Pillow.fromarray(load_sample_image("china.jpg")).resize((1280, 854))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95)
    whole = decode(buffer.getvalue()).picture
    scaled = decode(buffer.getvalue(), detail=336).picture
    assert (whole.size, scaled.size) == ((1280, 854), (640, 427))
    encoder = encoders.get(encoders.DEFAULT, models_dir)
    first, second = encoder.encode(np.stack([encoder.prepare(whole), encoder.prepare(scaled)]))
    assert first @ second / np.linalg.norm(first) / np.linalg.norm(second) > 0.995
    assert decode(buffer.getvalue(), detail=428).picture.size == (1280, 854)


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def test_an_empty_catalog_says_what_to_do_first(workspace: Workspace) -> None:
    with pytest.raises(NotFoundError, match="First run: winnow ingest"):
        embed.embed(workspace)
    with pytest.raises(NotFoundError, match="First run: winnow embed"):
        index.open_index(workspace)


def test_damaged_vectors_are_found_and_computed_again(workspace: Workspace, photos: Path) -> None:
    embed.embed(workspace)
    assert all(check.ok for check in integrity.verify(workspace))
    (path,) = workspace.vectors_dir.iterdir()
    path.write_bytes(b"\0" * path.stat().st_size)
    broken = [check for check in integrity.verify(workspace) if not check.ok]
    assert [check.name for check in broken] == [f"vectors of {encoders.DEFAULT}"]
    assert "5 of 5 vectors are missing or damaged" in broken[0].detail
    assert all(check.ok for check in integrity.verify(workspace, repair=True))
    assert all(check.ok for check in integrity.verify(workspace))
    path.unlink()
    assert not all(check.ok for check in integrity.verify(workspace))
    assert all(check.ok for check in integrity.verify(workspace, repair=True))


def test_vectors_that_cannot_be_computed_again_are_lost_only_where_damaged(
    workspace: Workspace, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "_BATCH", 1)
    monkeypatch.setattr(embed, "_BLOCK", 1)
    embed.embed(workspace)
    (path,) = workspace.vectors_dir.iterdir()
    data = bytearray(path.read_bytes())
    data[13] ^= 1
    path.write_bytes(data)

    class Newer(MeanColour):
        digest = "d" * 64

    monkeypatch.setattr(encoders, "get", lambda name, models_dir: Newer())
    (check,) = [check for check in integrity.verify(workspace, repair=True) if not check.ok]
    assert "1 of 5 vectors are missing or damaged" in check.detail
    assert "1 were forgotten; what made them is not here" in check.detail
    monkeypatch.setattr(encoders, "get", lambda name, models_dir: MeanColour())
    again = embed.embed(workspace)
    assert (again.embedded, again.already) == (1, 4)


def test_a_missing_picture_is_a_finding(workspace: Workspace, photos: Path) -> None:
    embed.embed(workspace)
    (photos / "2.png").unlink()
    broken = [check for check in integrity.verify(workspace) if not check.ok]
    assert [check.name for check in broken] == ["files"]
    assert "1 of 5 images are gone" in broken[0].detail
