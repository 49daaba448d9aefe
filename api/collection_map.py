"""Where a batch lies on the map of the collection, from a map that is there already."""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import projection
from store.arrays import Floats, Ints, Vectors
from store.schema import Batch, Pick
from store.workspace import Workspace

_MOST_PICKS = 2_000
_MOST_OTHERS = 4_000
_MARGIN = 10  # SVG units


@dataclass(frozen=True)
class Map:
    """Dots laid out for an SVG of `width` by `height`, each the `d` of a path."""

    width: int
    height: int
    others: str  # a sample of the whole collection
    arms: list[tuple[str, str]]  # of each arm its picks
    images: int  # on the map in all
    sample: int  # of these
    drawn: int  # picks


def read(workspace: Workspace, session: Session, batch: Batch) -> Map | None:
    """The most wanted picks on the map that was made last for the batch's encoder; None where none was made."""
    made = projection.newest(workspace, batch.state["encoder"]) if "encoder" in batch.state else None
    if made is None:
        return None
    most_wanted = select(Pick.image_id, Pick.arm).where(Pick.batch_id == batch.id).order_by(Pick.rank)
    arm_of = dict(session.execute(most_wanted.limit(_MOST_PICKS)).all())
    image_ids, points = made
    return lay_out(image_ids, points, arm_of)


def lay_out(
    image_ids: Ints, points: Vectors, arm_of: dict[int, str], *, width: int = 640, height: int = 420
) -> Map | None:
    """Place a sample of the images `(N,)` and all picks among them, by their `points` `(N, 2)`; None where none is."""
    if len(points) == 0:
        return None
    sample = np.arange(0, len(points), -(-len(points) // _MOST_OTHERS))
    of_picks = np.flatnonzero(np.isin(image_ids, list(arm_of)))
    arms = np.array([arm_of[image_id] for image_id in image_ids[of_picks].tolist()], dtype=object)
    places = _fit(points[np.concatenate([sample, of_picks])], width, height)
    picked = places[len(sample) :]
    return Map(
        width=width,
        height=height,
        others=_path(places[: len(sample)]),
        arms=[(arm, _path(picked[arms == arm])) for arm in dict.fromkeys(arm_of.values()) if arm in arms],
        images=len(points),
        sample=len(sample),
        drawn=len(of_picks),
    )


def _fit(points: Vectors, width: int, height: int) -> Floats:
    """Points `(N, 2)`, y upwards, as large as fits into the SVG, where y goes downwards."""
    low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
    room = np.array([width - 2 * _MARGIN, height - 2 * _MARGIN])
    scale = (room / np.maximum(high - low, 1e-9)).min()
    fitted: Floats = (points - (low + high) / 2) * [scale, -scale] + [width / 2, height / 2]
    return fitted


def _path(places: Floats) -> str:
    """A line of no length at each place, which round caps make a dot."""
    return "".join(f"M{x:.1f} {y:.1f}h0" for x, y in places.tolist())
