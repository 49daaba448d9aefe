"""Where each image lies on a plane, so that what looks alike lies together.

UMAP (McInnes, Healy, Melville, arXiv 1802.03426) by umap-learn, which compiles itself for half a
minute in every process: `python -m curation.projection HOME ENCODER` computes ahead of need.
"""

import hashlib
import os
import sys
import warnings
from pathlib import Path

import numpy as np
from sqlalchemy import select

from store import vectors
from store.arrays import Ints, Vectors
from store.errors import NotFoundError
from store.schema import Encoder, Image
from store.workspace import Workspace, open_workspace

_DIMENSIONS = 50  # principal components in which neighbours are sought
_NEIGHBOURS = 15
_FEWEST = 2 * _NEIGHBOURS  # images that UMAP makes sense of


def load_or_compute(workspace: Workspace, encoder_name: str) -> tuple[Ints, Vectors]:
    """The layout of all images the newest encoder of this name has seen, kept until there are others.

    Returns:
        Image ids `(N,)` int64, ordered by sha256, and points `(N, 2)` float32, aligned.

    Raises:
        NotFoundError: no encoder has this name.
    """
    with workspace.database.read() as session:
        encoder = session.scalar(select(Encoder).where(Encoder.name == encoder_name).order_by(Encoder.id.desc()))
        if encoder is None:
            raise NotFoundError(f"There is no encoder called {encoder_name!r}. See: winnow encoders list.")
        image_ids, values = vectors.load(workspace.vectors_dir, session, encoder)
        sha256_of = dict(session.execute(select(Image.id, Image.sha256)).all())
    seen = hashlib.sha256("".join(sha256_of[image_id] for image_id in image_ids.tolist()).encode()).hexdigest()
    path = workspace.projections_dir / f"{encoder.digest[:16]}-{seen[:16]}.npz"
    if not path.exists():
        _save(path, image_ids, lay_out(values))
    return _load(path)


def newest(workspace: Workspace, encoder_digest: str) -> tuple[Ints, Vectors] | None:
    """The layout that was made last for an encoder, perhaps of fewer images than there are now; None: none was.

    Image ids and points as `load_or_compute` gives them; nothing is computed.
    """
    kept = workspace.projections_dir.glob(f"{encoder_digest[:16]}-*.npz")
    path = max(kept, key=lambda path: path.stat().st_mtime_ns, default=None)
    return None if path is None else _load(path)


def lay_out(values: Vectors, *, seed: int = 0) -> Vectors:
    """UMAP of `values` `(N, D)` float32: points `(N, 2)` float32, neighbours close to each other.

    So few images that they have no neighbourhoods lie along their principal components. The same
    values and seed give the same points.
    """
    components = _principal_components(values)
    if len(values) < _FEWEST:
        points = np.zeros((len(values), 2), dtype=np.float32)
        points[:, : components.shape[1]] = components[:, :2]
        return points
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses tensorflow, and says what its own arguments imply
        from umap import UMAP

        layout = UMAP(n_neighbors=_NEIGHBOURS, init="pca", random_state=seed, n_jobs=1).fit_transform(components)
    return np.asarray(layout, dtype=np.float32)


def _principal_components(values: Vectors) -> Vectors:
    """`(N, ≤ 50)` float32, the widest first; each axis points to where its largest loading is positive."""
    from sklearn.decomposition import PCA

    if len(values) < 2:
        return np.zeros((len(values), 1), dtype=np.float32)
    count = min(_DIMENSIONS, *values.shape)
    with np.errstate(invalid="ignore"):  # the explained share of vectors that are all the same
        components: Vectors = PCA(count, svd_solver="full", random_state=0).fit_transform(values)
    return components.astype(np.float32)


def _load(path: Path) -> tuple[Ints, Vectors]:
    with np.load(path) as kept:
        return kept["image_ids"], kept["points"]


def _save(path: Path, image_ids: Ints, points: Vectors) -> None:
    """Whole or not at all, whoever else saves the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    with scratch.open("wb") as file:
        np.savez(file, image_ids=image_ids, points=points)
    scratch.replace(path)


if __name__ == "__main__":
    load_or_compute(open_workspace(Path(sys.argv[1])), sys.argv[2])
