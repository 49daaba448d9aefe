"""Pairs that were compared and found to be different pictures, kept so that no scan compares them again."""

import contextlib
from pathlib import Path

import numpy as np

from store.arrays import Bools, Ints

_RULES = 1  # counts the changes to curation.alignment that turn a verdict round
_COLUMNS = 3  # the smaller id, the larger, and whether they were also moved and scaled


class Refusals:
    """What one limit refused: contents never change, so neither does that. A cache; a killed scan goes on from it."""

    def __init__(self, folder: Path, *, encoder: str, max_residual: float) -> None:
        self._path = folder / f"{encoder}-{max_residual:.6f}-{_RULES}.refused"
        self._rows: Ints = np.empty((0, _COLUMNS), dtype=np.int64)
        with contextlib.suppress(FileNotFoundError):
            data = self._path.read_bytes()
            whole = len(data) - len(data) % (8 * _COLUMNS)  # a killed scan may have left half a row
            self._rows = np.frombuffer(data[:whole], dtype="<i8").reshape(-1, _COLUMNS).astype(np.int64)
            if whole < len(data):
                self._path.write_bytes(data[:whole])

    def __len__(self) -> int:
        return len(np.unique(self._rows[:, :2], axis=0))

    def hold(self, pairs: Ints, aligned: Bools) -> Bools:
        """Which pairs of image ids `(P, 2)`, the smaller first, were refused; those `aligned` only if aligned then."""
        refused = _keys(self._rows[:, :2])
        also_aligned = refused[self._rows[:, 2] > 0]
        keys = _keys(pairs)
        return np.where(aligned, np.isin(keys, also_aligned), np.isin(keys, refused))

    def add(self, pairs: Ints, aligned: Bools) -> None:
        """Keep more of them."""
        rows = np.concatenate([pairs.reshape(-1, 2), aligned.reshape(-1, 1).astype(np.int64)], axis=1)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(rows.astype("<i8").tobytes())
        self._rows = np.concatenate([self._rows, rows])

    def forget(self) -> None:
        """Let everything be compared again."""
        self._path.unlink(missing_ok=True)
        self._rows = self._rows[:0]


def _keys(pairs: Ints) -> Ints:
    keys: Ints = pairs[:, 0] << 32 | pairs[:, 1]
    return keys
