"""What every strategy chooses from so many pools of 3,000: run by itself, it prints a line for each."""

import hashlib
import sys
from typing import get_args

import numpy as np

from sampling import planner, recipes
from sampling.head import DEFAULT
from sampling.pool import Pool

_IMAGES = 3000
_BUDGET = 60


def lines(pools: int) -> list[str]:
    """The digest of what the probe sees; of each strategy's picks the position, arm and score in six digits."""
    found = []
    for seed in range(pools):
        pool = _pool(seed)
        bits = pool.views.plain.tobytes() + pool.views.smooth.tobytes()
        found.append(f"{seed} views {hashlib.sha256(bits).hexdigest()}")
        for kind in get_args(get_args(recipes.Strategy)[0]):
            recipe = recipes.parse({"budget": _BUDGET, "strategy": kind().name, "seed": seed})
            picks = [(pick.position, pick.arm, round(pick.score, 6)) for pick in planner.choose(pool, recipe)]
            found.append(f"{seed} {kind().name} {picks}")
    return found


def _pool(seed: int) -> Pool:
    """Overlapping heaps, of which 200 images are labelled and 400 reserved."""
    generator = np.random.default_rng(seed)
    heaps = generator.normal(size=(30, 64))[generator.integers(0, 30, _IMAGES)]
    vectors = heaps + generator.normal(scale=0.7, size=heaps.shape)
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    probabilities = generator.dirichlet(np.full(5, 0.5), size=_IMAGES)
    return Pool(
        sha256s=[f"{i:064x}" for i in range(_IMAGES)],
        image_ids=list(range(1, _IMAGES + 1)),
        take=lambda positions: unit[positions],
        eligible=np.arange(600, _IMAGES),
        reserve=np.arange(200, 600),
        labelled=np.arange(200),
        probabilities=probabilities,
        changed=1 - probabilities.max(axis=1),  # as a model that doubts so much might in its passes
        classes=list("abcde"),
        settings=DEFAULT,
    )


if __name__ == "__main__":
    print("\n".join(lines(int(sys.argv[1]))))
