"""How often people see what is there, and what is not: from few counts, and from answers that cannot tell."""

from dataclasses import dataclass

import numpy as np

from qa.consensus import belief
from store.arrays import Floats, Ints

ALIKE = 20.0  # how many chances the belief that people, or classes, are alike counts as

_SEES = np.linspace(0.5, 0.995, 34)  # what is tried: shares of what is there that people name,
_INVENTS = np.geomspace(0.002, 0.3, 26)  # of what is not,
_COMMON = np.concatenate([np.geomspace(0.002, 0.3, 24), np.linspace(0.33, 0.9, 12)])  # and of items that hold a class
_SMALLEST = 1e-300
_BLOCK = 64  # classes at once


@dataclass(frozen=True)
class Usual:
    """What people are like as far as answers tell, for each of C classes."""

    sensitivity: Floats  # (C,) float64, the chance that somebody names what is there,
    false_rate: Floats  # (C,) float64, and what is not


def shrunk(hits: Floats, chances: Floats, *, prior: tuple[float, float], within: tuple[float, float]) -> Floats:
    """`(A, C)` rates: everybody's of a class, bent to how much an annotator names, then their own counts.

    Args:
        hits: `(A, C)` how often each annotator did, of
        chances: `(A, C)` how often they could have.
        prior: As if so many more had, and had not.
        within: The least and the greatest rate.
    """
    usual = (hits.sum() + prior[0]) / (chances.sum() + sum(prior))
    of_class = np.clip((hits.sum(axis=0) + ALIKE * usual) / (chances.sum(axis=0) + ALIKE), *within)
    given = chances.sum(axis=1) + ALIKE
    expected = np.clip((chances @ of_class + ALIKE * usual) / given, *within)
    own = np.clip((hits.sum(axis=1) + ALIKE * usual) / given, *within)
    odds = of_class / (1 - of_class) * (own / (1 - own) * (1 - expected) / expected)[:, None]
    rates: Floats = np.clip((hits + ALIKE * odds / (1 + odds)) / (chances + ALIKE), *within)
    return rates


def usual(looks: Ints, named: Ints, known: Ints) -> Usual:
    """What people are like if all are alike, in the mean over all that the answers allow.

    Where two look at an item, people who miss much and people who invent much answer alike: how often both name a class
    and how often one does are two numbers, and what people see, what they invent and how common the class is are three.
    The likeliest of the three would be any; their mean leaves in doubt what is. From three looks on, or where items are
    known, the answers tell; how often what is known holds a class does not, as it may be chosen for that. What people
    see is beforehand as likely as if eight of ten things had been named.

    Args:
        looks: `(N,)` how many looked at each item.
        named: `(N, C)` how many of them named each class.
        known: `(N, C)` 1 where an item is known to hold a class, 0 where not to, -1 else.
    """
    items, classes = known.shape
    rows = np.stack([np.repeat(looks, classes), named.ravel(), known.ravel()], axis=1)
    kinds, kind = np.unique(rows, axis=0, return_inverse=True)
    number = np.bincount(
        kind.reshape(-1) * classes + np.tile(np.arange(classes), items), minlength=len(kinds) * classes
    )
    sees, invents, common = np.meshgrid(_SEES, _INVENTS, _COMMON, indexing="ij")
    told = np.zeros((len(kinds), sees.size))  # logarithms of how likely each kind is
    for i, (count, yes, truth) in enumerate(kinds.tolist()):
        there = common * sees**yes * (1 - sees) ** (count - yes)
        not_there = (1 - common) * invents**yes * (1 - invents) ** (count - yes)
        chance = (there + not_there, not_there / (1 - common), there / common)[truth + 1]
        told[i] = np.log(np.maximum(chance, _SMALLEST)).ravel()
    beforehand = sees**belief.PRIOR_RIGHT * (1 - sees) ** belief.PRIOR_WRONG
    beforehand *= np.gradient(_INVENTS)[:, None] * np.gradient(_COMMON)
    means: Floats = np.empty((classes, 2))
    for some in np.array_split(np.arange(classes), classes // _BLOCK + 1):
        likelihood = number.reshape(len(kinds), classes)[:, some].T @ told
        weight = np.exp(likelihood - likelihood.max(axis=1, keepdims=True)) * beforehand.ravel()
        weight /= weight.sum(axis=1, keepdims=True)
        means[some] = weight @ np.stack([sees.ravel(), invents.ravel()], axis=1)
    return Usual(means[:, 0], means[:, 1])
