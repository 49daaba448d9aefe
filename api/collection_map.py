"""Where a batch lies on the map of the collection, from a map that is there already."""

from dataclasses import dataclass

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import projection
from store.arrays import Ints, Vectors
from store.schema import Batch, Pick
from store.workspace import Workspace

_MOST_PICKS = 2_000
_MOST_OTHERS = 4_000


@dataclass(frozen=True)
class Map:
    """Dots laid out for an SVG of `width` by `height`, each the `d` of a path."""

    width: int
    height: int
    others: str  # a sample of the whole collection
    arms: list[tuple[str, str]]  # of each arm its picks
    images: int  # on the map in all
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
    """Place images `(N,)` at `points` `(N, 2)` to scale; None where none is."""
    if len(points) == 0:
        return None
    margin = 10
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.array([width - 2 * margin, height - 2 * margin])
    scale = (room / np.maximum(high - low, 1e-9)).min()
    places = (points - (low + high) / 2) * [scale, -scale] + [width / 2, height / 2]
    of_picks = np.flatnonzero(np.isin(image_ids, list(arm_of)))
    dots: dict[str, list[int]] = {arm: [] for arm in arm_of.values()}
    for row in of_picks.tolist():
        dots[arm_of[int(image_ids[row])]].append(row)
    step = -(-len(points) // _MOST_OTHERS)
    return Map(
        width=width,
        height=height,
        others=_path(places[::step]),
        arms=[(arm, _path(places[rows])) for arm, rows in dots.items() if rows],
        images=len(points),
        drawn=len(of_picks),
    )


def _path(places: Vectors) -> str:
    """A line of no length at each place, which round caps make a dot."""
    return "".join(f"M{x:.1f} {y:.1f}h0" for x, y in places.tolist())
