"""What items are of which one class is asked: believed by all that is known of them (`qa.consensus.posterior`).

That is who said what, what each of them confuses, and what a probe on the catalog's embeddings sees in an item that was
taught by other items; without embeddings the people alone.
"""

from functools import partial
from typing import Any

from qa import gains
from qa.case import TOLD, Belief, Case
from qa.consensus import posterior, probed
from qa.consensus.posterior import Posterior


def believe(case: Case) -> Belief:
    """What all items are."""
    found = _fit(case)
    return Belief(
        sure=found.posteriors.max(axis=1),
        accuracy=found.accuracy,
        gain=partial(gains.of_class, found, case.said.table),
        likeliest=partial(_likeliest, case, found),
        model=None if case.items is None or found.probabilities is None else case.items.model,
    )


def _fit(case: Case) -> Posterior:
    said = case.said
    problem: dict[str, Any] = {"annotators": len(case.annotators), "classes": len(said.classes)}
    if case.items is None or len(said.table) == 0:
        return posterior.fit(said.table, said.known, **problem)
    return probed.fit(said.table, said.known, case.items.views(), case.items.tied, **problem)


def _likeliest(case: Case, found: Posterior, item: int) -> tuple[str, dict[str, Any]]:
    classes, best = case.said.classes, int(found.posteriors[item].argmax())
    model = None
    if case.items is not None and case.items.has_vector[item] and found.probabilities is not None:
        says = found.probabilities[item]
        model = {
            "model": case.items.model,
            "says": classes[int(says.argmax())],
            "probability": float(says.max()),
            "chances": {name: chance for name, chance in zip(classes, says.tolist(), strict=True) if chance > TOLD},
            "power": found.trust.model,
        }
    method = "confusions" if found.probabilities is None else "confusions and probe"
    return classes[best], {"method": method, "model": model}
