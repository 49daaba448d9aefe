"""What other tools call duplicates in a folder of images, and what we do: run by benchmarks.peers.

Each is a generator as benchmarks.peers asks for, and yields `(name, name, distance)` of the pairs the tool names.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from tempfile import mkdtemp
from typing import Any


def imagededup(folder: str, method: str, limit: int | None = None) -> Iterator[Any]:
    """PHash, DHash, AHash or WHash of imagededup, to its own largest distance unless one is given."""
    from imagededup import methods

    yield
    limits = {} if limit is None else {"max_distance_threshold": limit}
    named = getattr(methods, method)(verbose=False).find_duplicates(image_dir=folder, scores=True, **limits)
    yield _once((one, other, distance) for one, near in named.items() for other, distance in near)


def cleanvision(folder: str) -> Iterator[Any]:
    """The sets of exact and near duplicates of CleanVision, which has no threshold."""
    from cleanvision import Imagelab

    yield
    lab = Imagelab(data_path=folder)
    lab.find_issues({"exact_duplicates": {}, "near_duplicates": {}}, verbose=False)
    sets = [one for kind in ("exact_duplicates", "near_duplicates") for one in lab.info[kind]["sets"]]
    yield _once(_within(sets))


def fastdup(folder: str) -> Iterator[Any]:
    """Every pair that fastdup lists, at 1 − its similarity; from .96 on its own components join them."""
    import fastdup

    yield
    found = fastdup.create(work_dir=mkdtemp(), input_dir=folder)
    found.run(overwrite=True, verbose=False, run_sentry=False, print_summary=False)
    pairs = found.similarity()
    named = zip(pairs["filename_from"], pairs["filename_to"], 1 - pairs["distance"], strict=True)
    yield _once(named)


def fiftyone(folder: str, home: str, limits: Sequence[float] = (0.2,)) -> Iterator[Any]:
    """FiftyOne Brain's near duplicates by the vectors that `winnow` left in `home`: its own models need a hub.

    Making those vectors is not counted. The distance told is the first of `limits`, ascending, that named the pair.
    """
    from curation import mongodb
    from curation.embed import find_encoder
    from store import vectors
    from store.workspace import open_workspace

    workspace = open_workspace(Path(home))
    server = mongodb.start(workspace)
    os.environ.update(FIFTYONE_DATABASE_URI=mongodb.uri(server), FIFTYONE_DATABASE_VALIDATION="false")
    import fiftyone as fo
    import fiftyone.brain as fob

    names = _names(workspace)
    with workspace.database.read() as session:
        image_ids, values = vectors.load(workspace.vectors_dir, session, find_encoder(session, None))
    dataset = fo.Dataset()
    ids = dataset.add_samples(
        [fo.Sample(filepath=str(Path(folder) / names[image_id])) for image_id in image_ids.tolist()], progress=False
    )
    name_of = dict(zip(ids, (names[image_id] for image_id in image_ids.tolist()), strict=True))
    yield
    found = fob.compute_near_duplicates(dataset, embeddings=values, threshold=limits[0])
    named = []
    for limit in limits:
        found.find_duplicates(thresh=limit)
        near = found.neighbors_map
        named += [(name_of[one], name_of[other], limit) for one in near for other, _ in near[one]]
    server.stop()
    yield _once(named)


def winnow(folder: str, home: str, models: str) -> Iterator[Any]:
    """Ours at its default settings, from files to groups; `models` are made already, as the peers' are."""
    from curation import duplicates, embed
    from curation.ingest import ingest
    from store.workspace import open_workspace

    workspace = open_workspace(Path(home))
    workspace.models_dir.mkdir(parents=True)
    for model in Path(models).iterdir():
        os.link(model, workspace.models_dir / model.name)
    yield
    ingest(workspace, [folder])
    embed.embed(workspace)
    duplicates.scan(workspace)
    names = _names(workspace)
    with workspace.database.read() as session:
        groups = [[member.image_id for member in members] for _, _, members in duplicates.newest_groups(session)]
        proven = duplicates.pairs_in_force(session)
    called = [(one, other, 0.0) for one, other in proven] + list(_within(groups))
    yield _once((names[one], names[other], distance) for one, other, distance in called)


def _names(workspace: Any) -> dict[int, str]:
    from sqlalchemy import select

    from store.schema import Sighting

    with workspace.database.read() as session:
        rows = session.execute(select(Sighting.image_id, Sighting.uri).where(Sighting.current)).all()
    return {image_id: Path(uri).name for image_id, uri in rows}


def _within(sets: Iterable[Iterable[Any]]) -> Iterator[tuple[Any, Any, float]]:
    return ((one, other, 0.0) for whole in sets for one, other in combinations(whole, 2))


def _once(pairs: Iterable[tuple[str, str, float]]) -> list[tuple[str, str, float]]:
    """Names without folders, each pair once, at its smallest distance."""
    least: dict[tuple[str, str], float] = {}
    for one, other, distance in pairs:
        pair = (min(Path(one).name, Path(other).name), max(Path(one).name, Path(other).name))
        if pair[0] != pair[1]:
            least[pair] = min(float(distance), least.get(pair, float("inf")))
    return [(*pair, distance) for pair, distance in sorted(least.items())]
