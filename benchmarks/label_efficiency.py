"""How many labels each strategy needs: `auto` beside random and other recipes, scikit-activeml's and modAL's.

CIFAR photos (where ../shared/data is), solar cells and scikit-learn's digits, by the default encoder. The same probe,
budgets, pools and test images for every strategy; what needs a model begins with random images in these libraries, as
they leave it to their users, and with typical ones in ours, as a plan does. `needed` is after how many labels a
strategy has, for good, the accuracy that random has after the most; `area` the mean accuracy, weighted by the labels
between budgets; `below` the largest shortfall against random at any budget, in standard errors of the difference over
seeds.
"""

import tarfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeAlias

import elpv_dataset
import numpy as np
from PIL import Image

from benchmarks import peers, report
from benchmarks.vectors import encoded
from sampling import recipes
from sampling.head import Views
from sampling.simulate import Curve, area, labels_needed, simulate
from sampling.situation import Strategy
from sampling.strategies import with_cold_start
from store.arrays import Floats, Ints, Vectors

_BUDGETS = [20, 50, 100, 200, 300, 400, 500, 600, 700, 850, 1000]
_SHARED = Path(__file__).parents[2] / "shared" / "data" / "cifar10-photos.tar"
_COVERING = ("typiclust", "k-center", "facility-location", "max-herding")
_ASKED = ("auto", "random")  # over four times the seeds: random's last accuracy is all that `needed` hangs on
_OURS = (*_ASKED, *_COVERING, "uherding", "weighted-k-means", "cluster-margin", "variance")
Collection: TypeAlias = tuple[str, list[Image.Image], Ints]
"""Name, pictures and classes."""

_SCRIPT = Path(__file__).with_name("peer_strategies.py")


def main() -> None:
    """A row for each collection and strategy."""
    rows = []
    with ProcessPoolExecutor() as pool:
        for measured in pool.map(_measured, (cifar, _solar, _digits)):
            for row in measured:
                print(*row, flush=True)
            rows += measured
    headings = (
        "collection",
        "n",
        "seeds",
        "strategy",
        *map(str, _BUDGETS),
        "± (mean)",
        "area",
        "needed",
        "÷ random",
        "below",
    )
    report.tell(
        "label-efficiency",
        ["scikit-learn", "numpy"],
        headings,
        rows,
        of_peers=("scikit-activeml", "modAL-python"),
        environment="choosers",
    )


def _measured(collection: Callable[[], Collection]) -> list[tuple[object, ...]]:
    """A row for each strategy."""
    name, pictures, targets = collection()
    if not pictures:
        return []
    seeds = 3 if report.scale() == "small" else 10
    curves = replayed(centred(encoded(name, pictures)), targets, seeds=seeds)
    random = next(curve for curve in curves if curve.strategy == "random")
    return [(name, len(targets), len(curve.runs), *figures(curve, random)) for curve in curves]


def figures(curve: Curve, random: Curve) -> tuple[object, ...]:
    """One row without the collection."""
    needed = labels_needed(curve, float(random.accuracy[-1]))
    gap = curve.runs - random.runs[: len(curve.runs)]  # the same seeds, so the same pools and test images
    error = np.maximum(gap.std(axis=0, ddof=1) / len(gap) ** 0.5, 1e-9)
    accuracy = [f"{value:.3f}" for value in curve.accuracy]
    accuracy += [""] * (len(_BUDGETS) - len(accuracy))
    ratio = None if needed is None else needed / random.budgets[-1]
    below = max(0.0, float((-gap.mean(axis=0) / error).max()))
    return (curve.strategy, *accuracy, float(curve.standard_error.mean()), area(curve), needed, ratio, below)


def replayed(directions: Vectors, targets: Ints, *, seeds: int) -> list[Curve]:
    """Our recipes here, the peers' strategies in their environment, on the same views."""
    views = Views.of(lambda rows: directions[rows], len(directions))
    budgets = [budget for budget in _BUDGETS if budget <= len(targets) * 2 // 3]
    ours: dict[str, Strategy] = {}
    for name in _OURS:
        ours[name] = with_cold_start(recipes.parse({"budget": 1, "strategy": name}).strategy)
    asked = {name: ours.pop(name) for name in _ASKED}
    curves = simulate(views, targets, np.arange(len(targets)), strategies=asked, budgets=budgets, seeds=4 * seeds)
    curves += simulate(views, targets, np.arange(len(targets)), strategies=ours, budgets=budgets, seeds=seeds)
    return curves + peers_of(views, targets, budgets, seeds)


def peers_of(views: Views, targets: Ints, budgets: list[int], seeds: int) -> list[Curve]:
    """The curves of scikit-activeml's and modAL's strategies."""
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        path = str(Path(scratch) / "problem.npz")
        np.savez(path, plain=views.plain, smooth=views.smooth, targets=targets)
        root = str(Path(__file__).parents[1])
        found = peers.run(
            _SCRIPT, "curves", in_python=peers.python("choosers"), problem=path, budgets=budgets, seeds=seeds, root=root
        ).result
    return [Curve(name, budgets, np.array(runs)) for name, runs in found.items()]


def centred(values: Floats) -> Vectors:
    """Centred unit vectors, as an index holds them."""
    directions = values - values.mean(axis=0)
    return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True), dtype=np.float32)


def cifar() -> Collection:
    """The CIFAR photos in the order of their names; none where ../shared/data is not."""
    pictures, names = [], []
    if _SHARED.exists():
        with tarfile.open(_SHARED) as archive:
            for member in sorted(archive.getmembers(), key=lambda one: one.name):
                file = archive.extractfile(member) if member.name.endswith(".jpg") else None
                if file is not None:
                    picture = Image.open(file).convert("RGB")
                    pictures.append(picture.resize((96, 96), Image.Resampling.BICUBIC))
                    names.append(Path(member.name).name.split("-")[0])
    return "CIFAR photos", pictures, np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)


def _solar() -> Collection:
    folder = Path(elpv_dataset.__file__).parent / "data"
    rows = [line.split() for line in (folder / "labels.csv").read_text().splitlines() if line.strip()]
    pictures = [Image.open(folder / row[0]).convert("RGB") for row in rows]
    return "solar cells", pictures, np.array([float(row[1]) > 0.5 for row in rows], dtype=np.int64)


def _digits() -> Collection:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pictures = [
        Image.fromarray((image * 15.9).astype(np.uint8)).convert("RGB").resize((96, 96), Image.Resampling.BICUBIC)
        for image in digits.images
    ]
    return "digits", pictures, np.asarray(digits.target, dtype=np.int64)


if __name__ == "__main__":
    main()
