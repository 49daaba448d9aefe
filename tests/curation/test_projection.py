import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.manifold import trustworthiness

from curation import projection
from store import schema
from store.errors import NotFoundError


def test_what_is_apart_stays_apart():
    generator = np.random.default_rng(0)
    centres = 10 * np.eye(4, 64)
    membership = np.repeat(np.arange(4), 25)
    points = projection.lay_out((centres[membership] + generator.normal(size=(100, 64))).astype(np.float32))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (membership[distances.argsort(axis=1)[:, :5]] == membership[:, None]).all()


def test_real_digits_keep_their_neighbours_about_as_well_as_umap_learn_does():
    digits = load_digits().data[::3].astype(np.float32)
    assert trustworthiness(digits, projection.lay_out(digits), n_neighbors=15) > 0.96  # umap-learn: .97


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
@pytest.mark.parametrize("dimensions", [1, 2, 60])
def test_few_images_are_laid_out_too(count, dimensions):
    values = np.random.default_rng(0).normal(size=(count, dimensions)).astype(np.float32)
    points = projection.lay_out(values)
    assert points.shape == (count, 2)
    assert points.dtype == np.float32
    assert np.isfinite(points).all()
    assert len(np.unique(points, axis=0)) == count


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1.0, -3.0, 1e-20, 1e6]), min_size=1, max_size=40),
    st.integers(min_value=1, max_value=3),
)
def test_copies_and_outliers_give_finite_points(column, repeats):
    values = np.repeat(np.array(column, dtype=np.float32)[:, None], repeats, axis=1)
    assert np.isfinite(projection.lay_out(values)).all()


def test_the_same_values_give_the_same_points_and_are_not_changed():
    values = np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32)
    before = values.copy()
    first = projection.lay_out(values)
    assert np.array_equal(first, projection.lay_out(values))
    assert not np.array_equal(first, projection.lay_out(values, seed=1))
    assert np.array_equal(values, before)


def test_a_layout_is_kept_until_the_images_change(workspace, build, monkeypatch):
    ids = build.images(12)
    values = np.random.default_rng(0).normal(size=(12, 8))
    encoder = build.vectors(ids[:10], values[:10])
    image_ids, points = projection.load_or_compute(workspace, "test")
    assert set(image_ids.tolist()) == set(ids[:10])

    with monkeypatch.context() as patched:
        patched.setattr(projection, "lay_out", lambda values: pytest.fail("computed again"))
        again_ids, again = projection.load_or_compute(workspace, "test")
    assert np.array_equal(points, again)
    assert np.array_equal(image_ids, again_ids)

    build.vectors(ids[10:], values[10:])
    more_ids, more = projection.load_or_compute(workspace, "test")
    assert len(more_ids) == len(more) == 12
    newest = projection.newest(workspace, encoder.digest)
    assert newest is not None
    assert np.array_equal(newest[0], more_ids)
    assert np.array_equal(newest[1], more)


def test_the_newest_layout_is_of_the_encoder_that_is_asked_for_and_never_computed(workspace, build):
    ids = build.images(4)
    one = build.vectors(ids, np.eye(4), name="one")
    other = build.vectors(ids, np.eye(4), name="other")
    assert projection.newest(workspace, one.digest) is None
    image_ids, _ = projection.load_or_compute(workspace, "one")
    assert np.array_equal(projection.newest(workspace, one.digest)[0], image_ids)
    assert projection.newest(workspace, other.digest) is None


def test_a_layout_half_written_by_a_killed_process_is_not_used(workspace, build):
    build.vectors(build.images(3), np.eye(3))
    _, points = projection.load_or_compute(workspace, "test")
    (kept,) = workspace.projections_dir.iterdir()
    kept.rename(kept.with_name(f"{kept.name}.4711"))
    assert np.array_equal(projection.load_or_compute(workspace, "test")[1], points)


def test_an_encoder_without_vectors_has_an_empty_layout(workspace):
    with workspace.database.write() as session:
        session.add(schema.Encoder(name="test", digest="0" * 64, dimensions=4))
    image_ids, points = projection.load_or_compute(workspace, "test")
    assert image_ids.shape == (0,)
    assert points.shape == (0, 2)


def test_an_unknown_encoder_is_a_sentence(workspace):
    with pytest.raises(NotFoundError, match="no encoder called 'nobody'"):
        projection.load_or_compute(workspace, "nobody")
