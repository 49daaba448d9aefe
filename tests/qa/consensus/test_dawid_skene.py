import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa.consensus import belief, confusion, dawid_skene, posterior
from tests.qa.consensus.crowds import as_crowd_kit, balanced, sorted_values, ten_crowds

CROWDS = balanced(ten_crowds([0.85, 0.8, 0.75, 0.7, 0.65], 3, items=40, overlap=5), 3)
OF_CROWDS = {"annotators": 50, "classes": 3}
NOBODY = np.empty((0, 3), dtype=np.int64)


def _unknown(items: int) -> np.ndarray:
    return np.full(items, -1)


@st.composite
def _answers(draw: st.DrawFn) -> np.ndarray:
    cells = draw(st.dictionaries(st.tuples(st.integers(0, 7), st.integers(0, 3)), st.integers(0, 2), max_size=32))
    return np.array([(*cell, answer) for cell, answer in cells.items()], dtype=np.int64).reshape(-1, 3)


def _crowd(seed: int, accuracy: np.ndarray, *, items: int, overlap: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes; each item answered by `overlap` people drawn at random."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 2, items)
    rows = []
    for item in range(items):
        for annotator in generator.choice(len(accuracy), overlap, replace=False):
            right = generator.random() < accuracy[annotator]
            rows.append((item, annotator, truth[item] if right else 1 - truth[item]))
    return np.array(rows, dtype=np.int64), truth


def test_one_answer_by_hand() -> None:
    found = dawid_skene.fit_one_coin(np.array([[0, 0, 1]]), _unknown(1), annotators=1, classes=2)
    accuracy = found.accuracy[0]
    assert accuracy == pytest.approx((8 + accuracy) / 11, abs=1e-5)  # the fixed point of the two steps
    assert found.posteriors[0] == pytest.approx([1 - accuracy, accuracy])


def test_a_settled_item_is_not_argued_with() -> None:
    found = dawid_skene.fit_one_coin(np.array([[0, 0, 1], [0, 1, 0]]), np.array([0]), annotators=2, classes=2)
    assert found.posteriors.tolist() == [[1, 0]]
    assert found.accuracy == pytest.approx([8 / 11, 9 / 11])


def test_nobody_answered() -> None:
    found = dawid_skene.fit_one_coin(NOBODY, _unknown(2), annotators=1, classes=4)
    assert found.posteriors.tolist() == [[0.25] * 4] * 2
    assert (found.accuracy.tolist(), found.answers.tolist()) == ([0.8], [0])
    nothing = dawid_skene.fit_one_coin(NOBODY, _unknown(0), annotators=0, classes=2)
    assert (nothing.posteriors.shape, nothing.interval.shape) == ((0, 2), (0, 2))


def test_everyone_agrees() -> None:
    answers = np.array([(item, annotator, item % 2) for item in range(40) for annotator in range(3)])
    found = dawid_skene.fit_one_coin(answers, _unknown(40), annotators=3, classes=2)
    assert found.posteriors.argmax(axis=1).tolist() == [0, 1] * 20
    assert found.posteriors.max(axis=1).min() > 0.99
    assert found.accuracy.min() > 0.95


def test_nobody_agrees() -> None:
    answers = np.array([(item, annotator, (item + annotator) % 2) for item in range(40) for annotator in range(2)])
    found = dawid_skene.fit_one_coin(answers, _unknown(40), annotators=2, classes=2)
    assert found.posteriors == pytest.approx(np.full((40, 2), 0.5))


def test_who_is_often_wrong_loses_the_argument() -> None:
    answers, truth = _crowd(0, np.array([0.97, 0.95, 0.6]), items=600, overlap=2)
    found = dawid_skene.fit_one_coin(answers, _unknown(600), annotators=3, classes=2)
    assert found.accuracy.argmin() == 2
    good_against_bad = dawid_skene.fit_one_coin(
        np.vstack([answers, [[600, 0, 0], [600, 2, 1]]]), _unknown(601), annotators=3, classes=2
    )
    assert good_against_bad.posteriors[600, 0] > 0.9
    assert np.mean(found.posteriors.argmax(axis=1) == truth) > 0.9


@pytest.mark.parametrize("overlap", [1, 2, 3])
def test_sparse_answers_never_lose_to_majority(overlap: int) -> None:
    ours, majority = [], []
    for seed in range(10):
        answers, truth = _crowd(seed, np.array([0.95, 0.85, 0.75, 0.65]), items=60, overlap=overlap)
        found = dawid_skene.fit_one_coin(answers, _unknown(60), annotators=4, classes=2)
        ours.append(np.mean(found.posteriors.argmax(axis=1) == truth))
        majority.append(np.mean(belief.counts(answers, items=60, classes=2).argmax(axis=1) == truth))
    assert np.mean(ours) >= np.mean(majority)


@given(_answers())
def test_people_of_one_skill_make_a_majority(answers: np.ndarray) -> None:
    votes = belief.counts(answers, items=8, classes=3)
    posteriors = dawid_skene._e_step(answers, _unknown(8), np.full(4, 0.8), 3)
    assert (votes[np.arange(8), posteriors.argmax(axis=1)] == votes.max(axis=1)).all()


@given(_answers(), st.randoms(use_true_random=False))
def test_invariants(answers: np.ndarray, random: np.random.Generator) -> None:
    found = dawid_skene.fit_one_coin(answers, _unknown(8), annotators=4, classes=3)
    assert found.posteriors.sum(axis=1) == pytest.approx(np.ones(8))
    assert ((found.interval[:, 0] < found.accuracy) & (found.accuracy < found.interval[:, 1])).all()
    order = list(range(len(answers)))
    random.shuffle(order)
    shuffled = dawid_skene.fit_one_coin(answers[order], _unknown(8), annotators=4, classes=3)
    assert shuffled.posteriors == pytest.approx(found.posteriors, abs=1e-6)


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
def test_one_coin_is_crowd_kits_without_a_prior_where_classes_are_equally_common(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Theirs learns how common each class is, and has no prior of an accuracy."""
    from crowdkit.aggregation import OneCoinDawidSkene

    theirs = OneCoinDawidSkene(n_iter=30, tol=-1).fit(as_crowd_kit(CROWDS))
    monkeypatch.setattr(belief, "PRIOR_RIGHT", 0.0)
    monkeypatch.setattr(belief, "PRIOR_WRONG", 0.0)
    found = dawid_skene.fit_one_coin(CROWDS, _unknown(1200), **OF_CROWDS)
    assert found.posteriors == pytest.approx(sorted_values(theirs.probas_), abs=1e-3)
    assert found.accuracy == pytest.approx(theirs.skills_.sort_index().to_numpy(), abs=1e-3)


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
def test_confusions_are_crowd_kits_without_a_prior_where_classes_are_equally_common(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from crowdkit.aggregation import DawidSkene

    theirs = DawidSkene(n_iter=60, tol=-1).fit(as_crowd_kit(CROWDS))
    start = 1e-10 * (np.eye(3) + 0.1)  # nothing else tells which class is which
    monkeypatch.setattr(confusion, "shrunk", lambda counts: confusion._rows(counts + start))
    monkeypatch.setattr(posterior, "_TOLERANCE", 1e-9)
    found = dawid_skene.fit(CROWDS, _unknown(1200), **OF_CROWDS)
    assert found.posteriors == pytest.approx(sorted_values(theirs.probas_), abs=1e-3)
    said = sorted_values(theirs.errors_).reshape(50, 3, 3)  # of each annotator, by answer and class
    assert found.confusion.swapaxes(1, 2) == pytest.approx(said, abs=1e-3)


def test_the_prior_is_ten_items_that_everybody_answered_and_whose_class_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers, _ = _crowd(0, np.array([0.9, 0.8, 0.6]), items=50, overlap=2)
    found = dawid_skene.fit_one_coin(answers, _unknown(50), annotators=3, classes=2)
    monkeypatch.setattr(belief, "PRIOR_RIGHT", 0.0)
    monkeypatch.setattr(belief, "PRIOR_WRONG", 0.0)
    gold = np.array([(50 + item, person, int(item >= 8)) for item in range(10) for person in range(3)])
    known = np.concatenate([_unknown(50), np.zeros(10, dtype=np.int64)])
    without = dawid_skene.fit_one_coin(np.concatenate([answers, gold]), known, annotators=3, classes=2)
    assert without.posteriors[:50] == pytest.approx(found.posteriors, abs=1e-4)
    assert without.accuracy == pytest.approx(found.accuracy, abs=1e-4)


def test_the_interval_is_that_of_a_beta_distribution() -> None:
    """Jeffreys' interval has a prior of half an answer each; ours has eight and two."""
    from statsmodels.stats.proportion import proportion_confint

    answers = np.array([(item, 0, int(item < 3)) for item in range(20)])
    found = dawid_skene.fit_one_coin(answers, np.zeros(20, dtype=np.int64), annotators=1, classes=2)
    assert found.interval[0] == pytest.approx(proportion_confint(17 + 7.5, 20 + 9, method="jeffreys"))


def test_counts_by_hand() -> None:
    answers = np.array([[0, 0, 1], [0, 1, 1], [2, 0, 0]])
    assert belief.counts(answers, items=3, classes=2).tolist() == [[0, 2], [0, 0], [1, 0]]
