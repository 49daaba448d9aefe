"""What other tools call duplicates in a folder of images: run by benchmarks.peers in their environment.

Each is a generator as benchmarks.peers asks for, and yields the pairs of file names that the tool names.
"""

from collections.abc import Iterable, Iterator
from itertools import combinations
from pathlib import Path
from tempfile import mkdtemp
from typing import Any


def imagededup(folder: str, method: str, max_distance: int | None = None) -> Iterator[Any]:
    """PHash, DHash, AHash or WHash of imagededup, at its own largest distance unless one is given."""
    from imagededup import methods

    yield
    limit = {} if max_distance is None else {"max_distance_threshold": max_distance}
    named = getattr(methods, method)(verbose=False).find_duplicates(image_dir=folder, **limit)
    yield unordered((one, other) for one, others in named.items() for other in others)


def cleanvision(folder: str) -> Iterator[Any]:
    """The exact and near duplicates of CleanVision, which has no threshold: one set, one hash."""
    from cleanvision import Imagelab

    yield
    lab = Imagelab(data_path=folder)
    lab.find_issues({"exact_duplicates": {}, "near_duplicates": {}}, verbose=False)
    sets = [one for kind in ("exact_duplicates", "near_duplicates") for one in lab.info[kind]["sets"]]
    yield within(sets)


def fastdup(folder: str, threshold: float | None = None) -> Iterator[Any]:
    """The pairs of fastdup as alike as its own threshold for components (.96), or as the one given."""
    import fastdup

    yield
    found = fastdup.create(work_dir=mkdtemp(), input_dir=folder)
    found.run(overwrite=True, verbose=False, run_sentry=False, print_summary=False)
    pairs = found.similarity()
    alike = pairs[pairs["distance"] >= (0.96 if threshold is None else threshold)]
    yield unordered(zip(alike["filename_from"], alike["filename_to"], strict=True))


def within(sets: Iterable[Iterable[str]]) -> list[tuple[str, str]]:
    """Every pair of each set."""
    return unordered(pair for one in sets for pair in combinations(one, 2))


def unordered(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Names without folders, each pair once."""
    names = ((Path(one).name, Path(other).name) for one, other in pairs)
    return sorted({(min(pair), max(pair)) for pair in names if pair[0] != pair[1]})
