import re
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from api import collection_map
from api.collection_map import Map
from curation import projection
from store import schema
from store.workspace import Workspace


def dots(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"M(-?[\d.]+) (-?[\d.]+)h0", path)]


def read(workspace: Workspace, batch_id: int) -> Map | None:
    with workspace.database.read() as session:
        return collection_map.read(workspace, session, session.get_one(schema.Batch, batch_id))


def lay_out(points: list[list[float]], arm_of: dict[int, str]) -> Map:
    """On 120 by 70, images numbered from 1."""
    made = collection_map.lay_out(
        np.arange(1, len(points) + 1), np.array(points, dtype=np.float32), arm_of, width=120, height=70
    )
    assert made is not None
    return made


def test_places_are_to_scale_and_upright() -> None:
    made = lay_out([[0, 0], [2, 1], [0, 1]], {2: "diverse", 1: "random"})
    # ten units of margin: 100 by 50 remain for 2 by 1
    assert dots(made.others) == [(10, 60), (110, 10), (10, 10)]
    assert [(arm, dots(path)) for arm, path in made.arms] == [("diverse", [(110, 10)]), ("random", [(10, 60)])]
    assert (made.images, made.sample, made.drawn) == (3, 3, 2)


def test_a_wide_map_is_not_stretched() -> None:
    made = lay_out([[0, 0], [100, 1]], {})
    assert dots(made.others) == [(10, 35.5), (110, 34.5)]


def test_picks_that_the_map_does_not_know_are_left_out() -> None:
    made = lay_out([[0, 0], [1, 1]], {2: "random", 99: "gold"})
    assert [arm for arm, _ in made.arms] == ["random"]
    assert made.drawn == 1


def test_of_many_images_a_sample_and_every_pick_is_drawn() -> None:
    points = np.random.default_rng(0).normal(size=(9_001, 2)).tolist()
    made = lay_out(points, {2: "diverse", 9_001: "random"})
    assert len(dots(made.others)) == made.sample == 3_001  # every third
    assert made.drawn == 2


def test_an_empty_map_is_none() -> None:
    assert (
        collection_map.lay_out(np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=np.float32), {1: "random"}) is None
    )


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 30), st.just(2)), elements=st.floats(-1e6, 1e6, width=32)))
def test_nothing_lies_outside(points: Any) -> None:
    made = lay_out(points.tolist(), {1: "random"})
    for x, y in dots(made.others) + dots(made.arms[0][1]):
        assert 9.9 <= x <= 110.1
        assert 9.9 <= y <= 60.1


def test_the_map_is_that_of_the_batchs_encoder_and_never_made(workspace: Workspace, build: Any) -> None:
    images = build.images(5)
    encoder = build.vectors(images[:4], np.eye(4))
    batch_id = build.batch(images[2:])
    assert read(workspace, batch_id) is None  # it does not say which encoder
    with workspace.database.write() as session:
        session.get_one(schema.Batch, batch_id).state = {"encoder": encoder.digest}
    assert read(workspace, batch_id) is None
    projection.load_or_compute(workspace, "test")
    made = read(workspace, batch_id)
    assert made is not None
    assert (made.images, made.drawn) == (4, 2)
