"""Label errors as cleanlab finds them, for benchmarks.label_errors: run by benchmarks.peers.

Each is a generator as benchmarks.peers asks for. A problem is an .npz file with `labels` `(N,)` and `probabilities`
`(N, C)` of a model that did not see them.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np


def cleanlab(problem: list[str]) -> Iterator[Any]:
    """Of each problem the thresholds, the joint, what is flagged, and suspicion by two scores."""
    warnings.filterwarnings("ignore")
    from cleanlab.count import compute_confident_joint, get_confident_thresholds
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    held = [np.load(path) for path in problem]
    yield
    found = []
    for one in held:
        labels, probabilities = one["labels"], one["probabilities"]
        flagged = find_label_issues(labels, probabilities, filter_by="confident_learning", n_jobs=1)
        joint = compute_confident_joint(labels, probabilities, calibrate=False)
        scores = {
            method: (1 - get_label_quality_scores(labels, probabilities, method=method)).tolist()
            for method in ("self_confidence", "normalized_margin")
        }
        found.append(
            {
                "thresholds": get_confident_thresholds(labels, probabilities).tolist(),
                "joint": joint.tolist(),
                "flagged": np.flatnonzero(flagged).tolist(),
                **scores,
            }
        )
    yield found
