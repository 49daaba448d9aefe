"""Queries by image, picture, text and several examples, on vectors that can be checked by hand."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from sqlalchemy import delete, update

from curation import encoders, search
from curation.encoders.interface import ImageEncoder
from curation.encoders.preprocessing import Preprocessing
from curation.search import Query
from store.errors import ConflictError, InvalidInputError, NotFoundError
from store.schema import Embedding, ImageId, Sighting
from store.workspace import Workspace

# six images on a circle around (10, 10), every sixty degrees; their mean is the centre
ANGLES = np.arange(6) * np.pi / 3
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1) + 10


class Tower(ImageEncoder):
    """Sees a picture's red and green as a place beside (10, 10), and reads directions of the compass."""

    name = "test"
    dimensions = 2
    preprocessing = Preprocessing(2, 2)
    digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"  # what the Builder names its vectors by

    def encode(self, inputs: np.ndarray) -> np.ndarray:
        return np.asarray(inputs.mean(axis=(2, 3))[:, :2] * 2 + 9, dtype=np.float32)

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        return np.array([{"east": (5, 0), "north": (0, 5), "nowhere": (np.nan, 0)}[text] for text in texts], np.float32)


@pytest.fixture
def circle(build: Any, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> list[ImageId]:
    monkeypatch.setattr(encoders, "get", lambda name, models_dir: Tower())
    ids: list[ImageId] = build.images(6)
    build.vectors(ids, CIRCLE)
    return ids


def picture(red: int, green: int) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", (4, 4), (red, green, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def found(workspace: Workspace, query: Query, **options: Any) -> list[int]:
    """Positions on the circle, the nearest first."""
    return [near.image_id - 1 for near in search.search(workspace, query, **options)]


def test_the_nearest_of_an_image_are_its_neighbours(circle: list[ImageId], workspace: Workspace) -> None:
    near = search.search(workspace, Query(like=[circle[0]]), k=3)
    assert [one.image_id - 1 for one in near] == [1, 5, 2]  # 60 degrees on both sides, then 120
    assert np.allclose([one.cosine for one in near], [0.5, 0.5, -0.5], atol=1e-5)
    assert found(workspace, Query(like=[circle[0]]), k=99)[-1] == 3  # the opposite
    assert len(found(workspace, Query(like=[circle[0]]), k=10**12)) == 5


def test_pictures_and_texts_are_queries_too(circle: list[ImageId], workspace: Workspace) -> None:
    assert found(workspace, Query(pictures=[picture(255, 128)]), k=1) == [0]  # east
    assert found(workspace, Query(pictures=[picture(0, 128)]), k=1) == [3]  # west
    assert found(workspace, Query(texts=["east"]), k=1) == [0]
    assert set(found(workspace, Query(texts=["north"]), k=2)) == {1, 2}


def test_several_examples_are_averaged_and_subtracted(circle: list[ImageId], workspace: Workspace) -> None:
    assert found(workspace, Query(like=[circle[0], circle[2]]), k=1) == [1]  # the one between them
    assert found(workspace, Query(like=[circle[0]], unlike=[circle[5]]), k=1) == [1]  # away from the other side
    assert found(workspace, Query(like=[circle[0]], texts=["north"]), k=1) == [1]
    combined = search.combined(np.eye(3, dtype=np.float32)[:2], np.eye(3, dtype=np.float32)[2:])
    assert np.allclose(combined, np.array([0.5, 0.5, -1]) / np.sqrt(1.5))


def test_a_filter_leaves_only_what_it_permits(circle: list[ImageId], workspace: Workspace) -> None:
    among = np.array([circle[3], circle[4], 999], dtype=np.int64)
    assert found(workspace, Query(like=[circle[0]]), among=among) == [4, 3]
    assert found(workspace, Query(like=[circle[0]]), among=np.empty(0, dtype=np.int64)) == []


def test_images_whose_files_have_gone_are_not_found(
    circle: list[ImageId], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with workspace.database.write() as session:
        session.execute(update(Sighting).where(Sighting.image_id.in_(circle[1:4])).values(missing=True))
        session.execute(update(Sighting).where(Sighting.image_id == circle[4]).values(current=False))
    assert found(workspace, Query(like=[circle[0]]), k=1) == [5]
    assert found(workspace, Query(like=[circle[0]]), k=5) == [5]
    assert found(workspace, Query(like=[circle[1]]), k=1) == [0]  # a gone image may still be asked for


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        (Query(), "Say what to be near"),
        (Query(unlike=[ImageId(1)]), "Say what to be near"),
        (Query(like=[ImageId(77)]), "There is no image 77. See: winnow images list"),
        (Query(like=[ImageId(10**30)]), "There is no image 1000"),
        (Query(like=[ImageId(-1)]), "There is no image -1"),
        (Query(like=[ImageId(1), ImageId(4)]), "cancel each other out"),
        (Query(like=[ImageId(1)], unlike=[ImageId(1)]), "cancel each other out"),
        (Query(pictures=[b"no picture"]), "not an image"),
        (Query(texts=["nowhere"]), "NaN"),
    ],
)
def test_what_is_wrong_with_a_query_is_said(
    circle: list[ImageId], workspace: Workspace, query: Query, complaint: str
) -> None:
    with pytest.raises((InvalidInputError, NotFoundError), match=complaint):
        search.search(workspace, query)


def test_vectors_of_two_digests_are_never_compared(
    circle: list[ImageId], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Newer(Tower):
        digest = "d" * 64

    monkeypatch.setattr(encoders, "get", lambda name, models_dir: Newer())
    with pytest.raises(ConflictError, match="made with other weights or preprocessing"):
        search.search(workspace, Query(pictures=[picture(0, 0)]))
    assert found(workspace, Query(like=[circle[0]]), k=1) == [1]  # needs no network


def test_each_encoder_is_searched_by_itself(circle: list[ImageId], build: Any, workspace: Workspace) -> None:
    build.vectors(circle, CIRCLE[[0, 3, 1, 4, 2, 5]], name="other")
    assert set(found(workspace, Query(like=[circle[0]]), k=2, encoder="test")) == {1, 5}
    assert set(found(workspace, Query(like=[circle[0]]), k=2, encoder="other")) == {2, 5}
    assert found(workspace, Query(like=[circle[0]]), k=2) == found(
        workspace, Query(like=[circle[0]]), k=2, encoder="other"
    )
    with pytest.raises(NotFoundError, match="Nothing is embedded with third"):
        search.search(workspace, Query(like=[circle[0]]), encoder="third")


def test_imported_vectors_are_searched_by_image_only(build: Any, workspace: Workspace) -> None:
    ids = build.images(6)
    build.vectors(ids, CIRCLE, name="ours")
    assert set(found(workspace, Query(like=[ids[0]]), k=2)) == {1, 5}
    with pytest.raises(NotFoundError, match="searched by images of the catalog only"):
        search.search(workspace, Query(texts=["east"]))


def test_search_equals_brute_force(build: Any, workspace: Workspace) -> None:
    values = np.random.default_rng(0).normal(size=(60, 8)) + 5
    ids = build.images(60)
    build.vectors(ids, values)
    centred = values - values.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    for position in (0, 17, 59):
        cosines = centred @ centred[position]
        cosines[position] = -2
        assert found(workspace, Query(like=[ids[position]]), k=5) == np.argsort(-cosines)[:5].tolist()


def test_the_rows_of_images_are_looked_up_in_whatever_order_they_came(build: Any, workspace: Workspace) -> None:
    ids = build.images(6)
    encoder = build.vectors([ids[i] for i in (4, 0, 5, 2)], CIRCLE[[4, 0, 5, 2]])
    with workspace.database.write() as session:
        session.execute(delete(Embedding).where(Embedding.image_id == ids[5]))  # row 2 is a gap
    with workspace.database.read() as session:
        searcher = search.Searcher(workspace, session, encoder)
    wanted = np.array([ids[2], -1, ids[4], ids[1], ids[5], ids[2], 10**15])
    assert searcher.rows_of(wanted).tolist() == [0, 3]
    assert searcher.rows_of(np.array([ids[0]])).tolist() == [1]
    assert searcher.rows_of(np.empty(0, dtype=np.int64)).tolist() == []


@pytest.mark.parametrize("rows", [[0, *range(2, 30)], [2, 28]])  # read in order, and gathered
def test_rows_are_compared_whatever_a_gap_between_them_holds(rows: list[int]) -> None:
    values = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    values[1] = np.nan
    query = np.array([0, 1, 0, 0], dtype=np.float32)
    inverse_norms = 1 / np.linalg.norm(values, axis=1)
    found = search.exact_cosines(values, np.array(rows), query, np.zeros(4, dtype=np.float32), inverse_norms)
    assert np.allclose(found, values[rows, 1] / np.linalg.norm(values[rows], axis=1), atol=1e-6)


def test_an_image_that_this_encoder_has_not_seen(build: Any, workspace: Workspace) -> None:
    ids = build.images(3)
    build.vectors(ids[:2], np.eye(2))
    with pytest.raises(NotFoundError, match=r"Image 3 is not embedded with test\. Run: winnow embed"):
        search.search(workspace, Query(like=[ids[2]]))
