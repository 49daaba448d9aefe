"""Policies of asking, replayed on answers that are there already: what each would have cost, and how right it was."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from qa import gains, overlap
from qa.consensus import belief, dawid_skene, glad, majority, posterior, probed
from qa.consensus.posterior import Posterior
from qa.overlap import Rules
from sampling.calibration import reliability
from sampling.head import Views
from store.arrays import Bools, Floats, Ints

ADAPTIVE = "adaptive"
_ROUNDS = 8  # of asking; what is in doubt after them stays so


@dataclass(frozen=True)
class Recorded:
    """Answers that people gave once, to N items."""

    answers: Ints  # (M, 3), see qa.consensus
    truth: Ints  # (N,) the class, -1 where it is not known
    annotators: int
    classes: int
    probabilities: Floats | None = None  # (N, C) of a model that has not seen the answers
    views: Views | None = None  # of the N items, for the probe; not with probabilities
    tied: Ints | None = None  # (N,) components; by default no item is tied to another


@dataclass(frozen=True)
class Outcome:
    """How one policy did, by seed `(S,)`."""

    policy: str
    answers_per_item: Floats
    cost: Floats  # of answers, per item
    cost_with_experts: Floats | None  # and of an expert for each doubtful item; none where their price is not known
    accuracy: Floats | None  # the share of items that are right, half of one of two tied classes; none without truth
    ece: Floats | None  # none also where the policy says no chances
    doubtful: Floats | None  # the share of items that go to an expert; none where the policy accepts every item


@dataclass(frozen=True)
class _Asked:
    """What a policy has after asking."""

    answers: Ints
    posteriors: Floats
    doubtful: Bools | None = None
    says_chances: bool = True


Policy: TypeAlias = Callable[[Recorded, Rules, int], _Asked]
"""Of answers in the order in which people would have been asked, rules and a seed."""


def simulate(
    recorded: Recorded,
    *,
    rules: Rules,
    seeds: int,
    policies: Mapping[str, Policy] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Outcome]:
    """Ask people in the order of each seed, policy by policy.

    Args:
        recorded: At least one answer to each item.
        rules: Of the adaptive policy; `most_answers` is also the largest fixed overlap. Nobody plays the expert: an
            item that would go to one keeps its likeliest class, counts as doubtful and costs what an expert does.
        seeds: How many times all is repeated, each with its order of people and folds.
        policies: By name; by default those of `fitting`.
        on_progress: Told (done, total) runs.
    """
    policies = fitting(recorded, rules) if policies is None else policies
    measured: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in policies}
    done, chances, decides = 0, dict.fromkeys(policies, False), dict.fromkeys(policies, False)
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        shuffled = random.permutation(recorded.answers)
        # of equals the first is asked: who that is must not hang on their names
        shuffled[:, 1] = random.permutation(recorded.annotators)[shuffled[:, 1]]
        ordered = Recorded(**{**vars(recorded), "answers": shuffled})
        for name, policy in policies.items():
            asked = policy(ordered, rules, seed)
            measured[name].append(_measure(asked, recorded.truth))
            chances[name], decides[name] = asked.says_chances, asked.doubtful is not None
            done += 1
            on_progress(done, seeds * len(policies))
    known = bool((recorded.truth >= 0).any())
    expert = rules.adjudication_cost
    outcomes = []
    for name, runs in measured.items():
        given, accuracy, ece, doubtful = np.array(runs).T
        outcomes.append(
            Outcome(
                name,
                answers_per_item=given,
                cost=given * rules.answer_cost,
                cost_with_experts=None
                if expert is None
                else given * rules.answer_cost + np.nan_to_num(doubtful) * expert,
                accuracy=accuracy if known else None,
                ece=ece if known and chances[name] else None,
                doubtful=doubtful if decides[name] else None,
            )
        )
    return outcomes


def fitting(recorded: Recorded, rules: Rules) -> dict[str, Policy]:
    """The policies that can be told apart on these answers: fixed overlaps, all answers, and the adaptive one."""
    most = int(np.bincount(recorded.answers[:, 0]).max(initial=0))
    policies: dict[str, Policy] = {}
    for count in range(1, min(rules.most_answers, most) + 1):
        policies[f"majority of {count}"] = majority_of(count)
        policies[f"posterior of {count}"] = posterior_of(count)
    if most > rules.most_answers:
        policies |= {"majority of all": majority_of(most), "posterior of all": posterior_of(most)}
    policies |= {
        "weighted majority": _weighted,
        "one-coin Dawid-Skene": _one_coin,
        "Dawid-Skene": _dawid_skene,
        "GLAD": _glad,
        ADAPTIVE: adaptive,
    }
    return policies


def majority_of(count: int) -> Policy:
    """The first `count` people are asked, and votes counted."""

    def policy(recorded: Recorded, rules: Rules, seed: int) -> _Asked:
        answers = recorded.answers[_turn(recorded.answers) < count]
        return _Asked(answers, majority.fit(answers, **_problem(recorded)).posteriors, says_chances=False)

    return policy


def posterior_of(count: int) -> Policy:
    """The first `count` people are asked, and the posterior formed with what model there is."""

    def policy(recorded: Recorded, rules: Rules, seed: int) -> _Asked:
        answers = recorded.answers[_turn(recorded.answers) < count]
        return _Asked(answers, believe(recorded, answers, seed=seed).posteriors)

    return policy


def adaptive(recorded: Recorded, rules: Rules, seed: int) -> _Asked:
    """Everything gets one answer, and more where `qa.overlap` asks for them."""
    turn = _turn(recorded.answers)
    told = np.flatnonzero(turn == 0)
    found = None
    for _ in range(max(_ROUNDS, rules.most_answers)):
        found = believe(recorded, recorded.answers[told], seed=seed, before=found)
        silent = np.setdiff1d(np.arange(len(recorded.answers)), told)
        decisions = overlap.decide(
            1 - found.posteriors.max(axis=1),
            np.bincount(recorded.answers[told, 0], minlength=len(recorded.truth)),
            [recorded.answers[silent, :2]],
            partial(gains.of_class, found, recorded.answers[told]),
            rules=rules,
            seed=seed,
        )
        heard = silent[decisions.asked[recorded.answers[silent, 0]] == recorded.answers[silent, 1]]
        if len(heard) == 0:
            break
        told = np.concatenate([told, heard])
    else:
        found = believe(recorded, recorded.answers[told], seed=seed, before=found)
    at_last = overlap.decide(
        1 - found.posteriors.max(axis=1),
        np.bincount(recorded.answers[told, 0], minlength=len(recorded.truth)),
        [],  # nobody is left
        lambda pairs: np.zeros(len(pairs)),
        rules=rules,
    )
    return _Asked(recorded.answers[told], found.posteriors, doubtful=at_last.adjudicated)


def believe(recorded: Recorded, answers: Ints, *, seed: int, before: Posterior | None = None) -> Posterior:
    """The posterior from some of the answers, with the probe, the model that was given, or neither."""
    if recorded.views is None:
        return posterior.fit(answers, probabilities=recorded.probabilities, **_problem(recorded))
    tied = np.arange(len(recorded.truth)) if recorded.tied is None else recorded.tied
    believed = None if before is None else before.posteriors
    return probed.fit(answers, views=recorded.views, tied=tied, seed=seed, believed=believed, **_problem(recorded))


def _one_coin(recorded: Recorded, rules: Rules, seed: int) -> _Asked:
    return _Asked(recorded.answers, dawid_skene.fit_one_coin(recorded.answers, **_problem(recorded)).posteriors)


def _dawid_skene(recorded: Recorded, rules: Rules, seed: int) -> _Asked:
    return _Asked(recorded.answers, dawid_skene.fit(recorded.answers, **_problem(recorded)).posteriors)


def _weighted(recorded: Recorded, rules: Rules, seed: int) -> _Asked:
    return _Asked(recorded.answers, majority.fit_weighted(recorded.answers, **_problem(recorded)).posteriors)


def _glad(recorded: Recorded, rules: Rules, seed: int) -> _Asked:
    return _Asked(recorded.answers, glad.fit(recorded.answers, **_problem(recorded)).posteriors)


def _problem(recorded: Recorded) -> dict[str, Any]:
    nothing = np.full(len(recorded.truth), -1)
    return {"known": nothing, "annotators": recorded.annotators, "classes": recorded.classes}


def _turn(answers: Ints) -> Ints:
    """`(M,)`: which answer to its item each is, from 0."""
    order = np.argsort(answers[:, 0], kind="stable")
    _, first, lengths = np.unique(answers[order, 0], return_index=True, return_counts=True)
    turn = np.empty(len(answers), dtype=np.int64)
    turn[order] = np.arange(len(answers)) - np.repeat(first, lengths)
    return turn


def _measure(asked: _Asked, truth: Ints) -> tuple[float, float, float, float]:
    """Answers per item, accuracy and ECE where the truth is known, the share in doubt.

    Of classes that are equally likely one would be drawn: where the true one is among k of them, an item is right 1/k.
    """
    known = truth >= 0
    accuracy = ece = float("nan")
    if known.any():
        likeliest = belief.likeliest(asked.posteriors[known])
        accuracy = float((likeliest[np.arange(len(likeliest)), truth[known]] / likeliest.sum(axis=1)).mean())
        ece = reliability(asked.posteriors[known], truth[known]).ece
    doubtful = float("nan") if asked.doubtful is None else float(asked.doubtful.mean())
    return len(asked.answers) / len(truth), accuracy, ece, doubtful
