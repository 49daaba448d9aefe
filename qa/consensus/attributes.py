"""What several people say of things beside what they are: each attribute of each thing is a question of its own.

Answers weigh by how often who gave them is right of any attribute, learnt together (`dawid_skene.fit_one_coin`). Only
what somebody said can be the value, and who said nothing of an attribute counts neither way. What is written in words
of one's own has no chance of being right: the words of whoever is right most often are kept.
"""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from labeling.content import Choices, Text, Value
from qa.consensus import dawid_skene
from store.arrays import Floats, Ints


@dataclass(frozen=True)
class Attributes:
    """The likeliest attributes of K things, and Q questions whose answers can be right or wrong."""

    likeliest: list[dict[str, Value]]  # K
    chances: list[dict[str, float]]  # K, of these that they are right; without text
    sure: Floats  # (K,) float64, the chance that all of them are right; 1 where nothing was said
    thing: Ints  # (Q,) int64, ascending
    values: Ints  # (Q,) int64, how many values each may have: as many as were said of that attribute of anything
    posteriors: Floats  # (Q, V + 1) float64, of the values that were said of it, in that order; last, of all others
    accuracy: Floats  # (A,) float64, the chance that what an annotator says of an attribute is right

    def after(self, thing: Ints, annotator: Ints) -> Floats:
        """`(R,)`: what `sure` of each of `thing` `(R,)` is expected to be once each of `annotator` `(R,)` said theirs.

        Raises:
            IndexError: there is no such thing or annotator.
        """
        first = np.searchsorted(self.thing, np.arange(len(self.sure) + 1))
        count = np.diff(first)[thing]
        row = np.repeat(np.arange(len(thing)), count)
        question = first[thing[row]] + np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        right = self.accuracy[annotator[row], None]
        values = self.values[question, None]
        alike = dawid_skene.each_stands_for(values[:, 0], self.posteriors.shape[1])
        now = self.posteriors[question] / np.maximum(alike, 1)
        highest = np.sort(np.column_stack([now, np.where(alike[:, -1] > 1, now[:, -1], 0)]), axis=1)
        best_other = np.where(now == highest[:, -1:], highest[:, -2:-1], highest[:, -1:])
        said = (np.maximum(now * right, best_other * (1 - right) / (values - 1)) * alike).sum(axis=1)
        result = np.ones(len(thing))
        np.multiply.at(result, row, said)
        return result


def fit(
    said: Sequence[Mapping[str, Value]], thing: Ints, annotator: Ints, *, things: int, annotators: int
) -> Attributes:
    """Weigh who said what of each attribute of each thing.

    Args:
        said: What each of R rows says, by the attribute's name.
        thing: `(R,)` int64, of which thing; an annotator says something of it once.
        annotator: `(R,)` int64, who; number A is an expert, who is right.
        things: K.
        annotators: A.

    Returns:
        Of equally likely values the one said first.
    """
    heard: dict[tuple[int, str], dict[Hashable, Value]] = defaultdict(dict)
    for of, row in sorted(zip(thing.tolist(), said, strict=True), key=lambda each: each[0]):
        for name, value in row.items():
            heard[of, name].setdefault(_key(value), value)
    asked = {place: i for i, place in enumerate(place for place in heard if not _is_text(heard[place]))}
    values = [list(heard[place]) for place in asked]
    answers, known = [], np.full(len(asked), -1)
    for of, by, row in zip(thing.tolist(), annotator.tolist(), said, strict=True):
        for name, value in row.items():
            if (question := asked.get((of, name))) is not None:
                number = values[question].index(_key(value))
                if by == annotators:
                    known[question] = number
                else:
                    answers.append((question, by, number))
    kinds: dict[str, set[Hashable]] = defaultdict(set)
    for (_, name), options in heard.items():
        kinds[name].update(options)
    classes = np.array([max(2, len(kinds[name])) for _, name in asked], dtype=np.int64)
    found = dawid_skene.fit_one_coin(
        np.array(answers, dtype=np.int64).reshape(-1, 3), known, annotators=annotators, classes=classes
    )
    right = np.append(found.accuracy, 1.0)  # at last the expert's
    likeliest: list[dict[str, Value]] = [{} for _ in range(things)]
    chances: list[dict[str, float]] = [{} for _ in range(things)]
    sure = np.ones(things)
    for (of, name), options in heard.items():
        if (question := asked.get((of, name))) is None:
            continue
        posterior = found.posteriors[question, : len(options)]
        likeliest[of][name] = list(options.values())[int(posterior.argmax())]
        chances[of][name] = float(posterior.max())
        sure[of] *= posterior.max()
    for row in np.argsort(-right[annotator], kind="stable").tolist():
        for name, value in said[row].items():
            likeliest[int(thing[row])].setdefault(name, value)
    of_question = np.array([of for of, _ in asked], dtype=np.int64)
    return Attributes(likeliest, chances, sure, of_question, classes, found.posteriors, found.accuracy)


def _is_text(options: Mapping[Hashable, Value]) -> bool:
    return any(isinstance(value, Text) for value in options.values())


def _key(value: Value) -> Hashable:
    """By which values are the same: the order of several choices does not matter."""
    return frozenset(value.choices) if isinstance(value, Choices) else value
