from itertools import combinations, permutations

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curation import iou
from qa import agreement, agreement_tables
from store.errors import InvalidInputError

COUNTS = arrays(np.int64, st.tuples(st.integers(1, 12), st.integers(2, 4)), elements=st.integers(0, 3))


def test_alpha_by_hand() -> None:
    counts = np.array([[2, 0], [2, 0], [1, 1], [0, 2]])
    # 8 answers, 5 of one kind and 3 of the other: by chance 30 of 56 ordered pairs differ; seen: 2 of 8
    assert agreement.krippendorff_alpha(counts) == pytest.approx(1 - (2 / 8) / (30 / 56))


def test_ordinal_distance_by_hand() -> None:
    """Two items, answers 0 1 and 2 2: between 0 and 1 lie 1/2 + 1/2, between 0 and 2 another 1 + 1, of 1 and 2 1.5."""
    counts = np.array([[1, 1, 0], [0, 0, 2]])
    expected = (2 * 1 + 4 * 2.5**2 + 4 * 1.5**2) / 12
    assert agreement.krippendorff_alpha(counts, level="ordinal") == pytest.approx(1 - (2 * 1 / 4) / expected)


def test_raw_agreement_by_hand() -> None:
    assert agreement.raw_agreement(np.array([[2, 0], [1, 1], [2, 1], [1, 0]])) == pytest.approx((1 + 0 + 1 / 3) / 3)


def test_krippendorffs_own_example() -> None:
    """Four observers, twelve units, .743: Krippendorff (2011), section C."""
    ratings = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, np.nan, np.nan, np.nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, np.nan, 3],
        [np.nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, np.nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, np.nan],
    ]
    counts = np.array([[np.sum(np.array(unit) == c) for c in range(1, 6)] for unit in zip(*ratings, strict=True)])
    assert agreement.krippendorff_alpha(counts) == pytest.approx(0.743, abs=5e-4)


@given(COUNTS)
def test_raw_agreement_is_that_of_every_two_answers(counts: np.ndarray) -> None:
    answers = [np.repeat(np.arange(len(row)), row) for row in counts]
    shares = [np.mean([a == b for a, b in combinations(each, 2)]) for each in answers if len(each) > 1]
    assert agreement.raw_agreement(counts) == (pytest.approx(np.mean(shares)) if shares else None)


@given(COUNTS, st.randoms(use_true_random=False))
def test_the_order_of_items_and_classes_does_not_matter(counts: np.ndarray, random: np.random.Generator) -> None:
    rows, columns = list(range(counts.shape[0])), list(range(counts.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    shuffled = counts[rows][:, columns]
    assert agreement.krippendorff_alpha(shuffled) == pytest.approx(agreement.krippendorff_alpha(counts))
    assert agreement.raw_agreement(shuffled) == pytest.approx(agreement.raw_agreement(counts))


@pytest.mark.parametrize("counts", [np.zeros((0, 2), np.int64), np.zeros((3, 2), np.int64), np.eye(2, dtype=np.int64)])
def test_without_two_answers_nothing_can_be_said(counts: np.ndarray) -> None:
    assert agreement.krippendorff_alpha(counts) is None
    assert agreement.raw_agreement(counts) is None


def test_where_only_one_answer_was_ever_given_alpha_is_undefined() -> None:
    assert agreement.krippendorff_alpha(np.array([[2, 0], [3, 0]])) is None
    assert agreement.raw_agreement(np.array([[2, 0], [3, 0]])) == 1


KAPPA_COUNTS = st.integers(2, 5).flatmap(
    lambda people: st.lists(
        st.lists(st.integers(0, 3), min_size=people, max_size=people).map(lambda row: np.bincount(row, minlength=4)),
        min_size=1,
        max_size=12,
    ).map(np.array)
)
PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=20)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@given(counts=COUNTS)
def test_alpha_is_the_peers(level: agreement.Level, counts: np.ndarray) -> None:
    assume((counts[counts.sum(axis=1) >= 2].sum(axis=0) > 0).sum() >= 2)
    values = np.arange(counts.shape[1])
    theirs = krippendorff.alpha(value_counts=counts, value_domain=values, level_of_measurement=level)
    assert agreement.krippendorff_alpha(counts, level=level) == pytest.approx(theirs)


def test_interval_distance_by_hand() -> None:
    """Two items, answers 0 1 and 2 2: unequal neighbours count 1, ends 4."""
    counts = np.array([[1, 1, 0], [0, 0, 2]])
    # observed: 2 ordered pairs that differ by 1, of 4; by chance of 12: 0-1 twice (1), 0-2 and 1-2 four times each
    expected = (2 * 1 + 4 * 4 + 4 * 1) / 12
    assert agreement.krippendorff_alpha(counts, level="interval") == pytest.approx(1 - (2 / 4) / expected)


def test_the_interval_holds_alpha_and_narrows_with_more_items() -> None:
    generator = np.random.default_rng(0)

    def answered(items: int) -> np.ndarray:
        truth = generator.integers(0, 3, items)
        said = np.where(generator.random((items, 3)) < 0.7, truth[:, None], generator.integers(0, 3, (items, 3)))
        return np.array([np.bincount(row, minlength=3) for row in said])

    few, many = answered(50), answered(2000)
    widths = []
    for counts in (few, many):
        interval = agreement.alpha_interval(counts)
        alpha = agreement.krippendorff_alpha(counts)
        assert interval is not None
        assert alpha is not None
        assert interval[0] < alpha < interval[1]
        widths.append(interval[1] - interval[0])
    assert widths[1] < widths[0] / 4
    assert agreement.alpha_interval(few, seed=1) == agreement.alpha_interval(few, seed=1)


def test_the_interval_is_that_of_a_plain_bootstrap_of_the_peers_alpha() -> None:
    generator = np.random.default_rng(0)
    said = np.where(
        generator.random((60, 3)) < 0.7, generator.integers(0, 3, (60, 1)), generator.integers(0, 3, (60, 3))
    )
    counts = np.array([np.bincount(row, minlength=3) for row in said])
    drawn = generator.integers(0, 60, (1000, 60))
    theirs = [krippendorff.alpha(value_counts=counts[rows], level_of_measurement="nominal") for rows in drawn]
    assert agreement.alpha_interval(counts) == pytest.approx(np.quantile(theirs, [0.025, 0.975]), abs=0.02)


@pytest.mark.parametrize("level", ["ordinal", "interval"])
def test_of_ordered_classes_it_is_too_but_for_the_one_item_more(level: agreement.Level) -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 4, (1500, 1))
    said = np.where(generator.random((1500, 3)) < 0.7, truth, generator.integers(0, 4, (1500, 3)))
    counts = np.array([np.bincount(row, minlength=4) for row in said])
    drawn = generator.integers(0, 1500, (400, 1500))
    theirs = [krippendorff.alpha(value_counts=counts[rows], level_of_measurement=level) for rows in drawn]
    assert agreement.alpha_interval(counts, level=level) == pytest.approx(np.quantile(theirs, [0.025, 0.975]), abs=0.01)


def test_the_interval_covers_what_it_says() -> None:
    """In 200 samples of items from one population about 95 in 100 intervals hold its α."""
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 2, 20_000)
    said = np.where(generator.random((20_000, 2)) < 0.6, truth[:, None], generator.integers(0, 2, (20_000, 2)))
    population = np.stack([(said == 0).sum(axis=1), (said == 1).sum(axis=1)], axis=1)
    alpha = agreement.krippendorff_alpha(population)
    assert alpha is not None
    held = 0
    for seed in range(200):
        interval = agreement.alpha_interval(generator.choice(population, 120, replace=False), seed=seed, draws=200)
        assert interval is not None
        held += interval[0] <= alpha <= interval[1]
    assert 180 <= held <= 199


@pytest.mark.parametrize(("right", "common", "people"), [(0.97, 0.5, 2), (0.95, 0.8, 2), (0.8, 0.5, 3)])
def test_the_interval_of_the_fewest_items_covers_nearly_what_it_says(right: float, common: float, people: int) -> None:
    """Of many such samples all items are agreed on, which does not make others so."""
    generator = np.random.default_rng(3)
    truth = (generator.random(20_000) < common).astype(np.int64)
    ones = (truth[:, None] ^ (generator.random((20_000, people)) >= right)).sum(axis=1)
    population = np.stack([people - ones, ones], axis=1)
    alpha = agreement.krippendorff_alpha(population)
    assert alpha is not None
    held, told = 0, 0
    for seed in range(200):
        sample = generator.choice(population, agreement.LEAST_ITEMS, replace=False)
        interval = agreement.alpha_interval(sample, seed=seed, draws=300)
        if interval is not None:
            held, told = held + (interval[0] <= alpha <= interval[1]), told + 1
    assert told > 190
    assert held / told >= 0.9


@pytest.mark.parametrize("seed", range(10))
def test_that_all_items_are_agreed_on_is_not_certainty(seed: int) -> None:
    """Of thirty trials that never failed a tenth may, and by chance half of the answers would be the same."""
    unanimous = np.array([[2, 0], [0, 2]] * 15)
    interval = agreement.alpha_interval(unanimous, seed=seed)
    assert interval is not None
    assert interval[0] == pytest.approx(0.8, abs=0.03)
    assert interval[1] == 1


def test_of_few_items_there_is_no_interval() -> None:
    """Items of one answer, and questions about one image, are no more items than there are images with two."""
    enough = np.array([[2, 0], [0, 2], [1, 1]] * 10)
    assert agreement.alpha_interval(enough) is not None
    assert agreement.alpha_interval(np.concatenate([enough[:-1], [[1, 0]] * 5])) is None
    assert agreement.alpha_interval(np.concatenate([enough, enough]), together=np.arange(60) // 3) is None
    assert agreement.alpha_interval(np.concatenate([enough, enough]), together=np.arange(60) // 2) is not None


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_many_items_are_drawn_together_to_the_same_interval(
    level: agreement.Level, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 30, 6000)
    said = np.where(generator.random((6000, 3)) < 0.7, truth[:, None], generator.integers(0, 30, (6000, 3)))
    counts = np.zeros((6000, 30), dtype=np.int64)
    np.add.at(counts, (np.arange(6000)[:, None], said), 1)
    bounded = agreement.alpha_interval(counts, level=level)
    monkeypatch.setattr(agreement, "_MOST_UNITS", 10_000)
    each = agreement.alpha_interval(counts, level=level)
    assert bounded is not None
    assert each is not None
    assert np.mean(bounded) == pytest.approx(np.mean(each), abs=0.002)
    assert np.ptp(bounded) == pytest.approx(np.ptp(each), rel=0.2)


def test_the_interval_covers_where_questions_about_one_image_are_alike() -> None:
    """Images are clear or not, in all their eight questions; drawn one by one, these promise too much."""
    generator = np.random.default_rng(2)
    image = np.repeat(np.arange(2000), 8)
    truth = generator.integers(0, 2, len(image))
    is_clear = (generator.random(2000) < 0.5)[image]
    right = generator.random((len(image), 2)) < np.where(is_clear, 1.0, 0.5)[:, None]
    said = np.where(right, truth[:, None], 1 - truth[:, None])
    population = np.stack([(said == 0).sum(axis=1), (said == 1).sum(axis=1)], axis=1)
    alpha = agreement.krippendorff_alpha(population)
    assert alpha is not None
    held = {"together": 0, "alone": 0}
    for seed in range(200):
        drawn = generator.choice(2000, 60, replace=False)
        rows = (8 * drawn[:, None] + np.arange(8)).ravel()
        for name, together in (("together", image[rows]), ("alone", None)):
            interval = agreement.alpha_interval(population[rows], together=together, seed=seed, draws=200)
            assert interval is not None
            held[name] += interval[0] <= alpha <= interval[1]
    assert 180 <= held["together"] <= 199
    assert held["alone"] < 170


def test_items_that_are_alone_are_drawn_as_without_groups() -> None:
    counts = np.random.default_rng(0).multinomial(3, [0.6, 0.3, 0.1], size=400)
    alone = agreement.alpha_interval(counts, together=np.arange(400))
    assert alone == pytest.approx(agreement.alpha_interval(counts), abs=0.02)


def test_by_class_by_hand() -> None:
    """Cats are agreed on, dogs and owls are not told apart."""
    said = [(0, 0)] * 5 + [(1, 2)] * 5
    table = np.array([(item, person, answer) for item, both in enumerate(said) for person, answer in enumerate(both)])
    everything = np.ones(len(said), dtype=np.bool_)
    rows = agreement_tables.of_classes(table, everything, ["cat", "dog", "owl"])
    cat, dog, owl = (row.alpha for row in rows)
    assert cat == pytest.approx(1)
    assert dog == pytest.approx(owl)
    assert dog is not None
    assert dog < 0


def test_fleiss_own_example() -> None:
    """Fourteen raters, ten subjects, five categories: .210, as in the table of many textbooks."""
    counts = [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
    assert agreement.fleiss_kappa(np.array(counts)) == pytest.approx(0.210, abs=5e-4)


@given(KAPPA_COUNTS)
def test_fleiss_is_statsmodels(counts: np.ndarray) -> None:
    from statsmodels.stats.inter_rater import fleiss_kappa

    assume((counts.sum(axis=0) > 0).sum() >= 2)
    assert agreement.fleiss_kappa(counts) == pytest.approx(fleiss_kappa(counts))


@given(KAPPA_COUNTS)
def test_fleiss_and_alpha_differ_by_the_sample_alone(counts: np.ndarray) -> None:
    """With n answers in all, 1 - α = (1 - κ)(n - 1) / n: Krippendorff corrects for drawing without replacement."""
    assume((counts.sum(axis=0) > 0).sum() >= 2)
    kappa, alpha, answers = agreement.fleiss_kappa(counts), agreement.krippendorff_alpha(counts), counts.sum()
    assert kappa is not None
    assert alpha is not None
    assert 1 - alpha == pytest.approx((1 - kappa) * (answers - 1) / answers)


@pytest.mark.parametrize(("level", "seen", "by_chance"), [("nominal", 2, 7), ("ordinal", 3, 10), ("interval", 5, 16)])
def test_cohen_by_hand(level: agreement.Level, seen: int, by_chance: int) -> None:
    """Of 0 0 0 2 and 0 1 0 0 one pair is apart by 1 and one by 2.

    By chance, of sixteen pairs, 0 meets 1 three times, 2 meets 0 three times and 1 once: apart by 1 four, by 2 three.
    """
    first, second = np.array([0, 0, 0, 2]), np.array([0, 1, 0, 0])
    by_hand = 1 - (seen / 4) / (by_chance / 16)
    assert agreement.cohen_kappa(first, second, level=level) == pytest.approx(by_hand)


@pytest.mark.parametrize(("level", "weights"), [("nominal", None), ("ordinal", "linear"), ("interval", "quadratic")])
@given(pairs=PAIRS)
def test_cohen_is_scikit_learns_and_statsmodels(
    level: agreement.Level, weights: str | None, pairs: list[tuple[int, int]]
) -> None:
    from sklearn.metrics import cohen_kappa_score
    from statsmodels.stats.inter_rater import cohens_kappa

    first, second = np.array(pairs).T
    assume(len({*first.tolist(), *second.tolist()}) > 1)
    found = agreement.cohen_kappa(first, second, level=level)
    assert found == pytest.approx(cohen_kappa_score(first, second, weights=weights, labels=[0, 1, 2, 3]))
    table = np.zeros((4, 4))
    np.add.at(table, (first, second), 1)
    assert found == pytest.approx(cohens_kappa(table, wt=weights, return_results=False))


def test_where_kappa_is_undefined() -> None:
    nothing = np.zeros(0, np.int64)
    assert agreement.cohen_kappa(nothing, nothing) is None
    assert agreement.cohen_kappa(np.array([1, 1]), np.array([1, 1])) is None
    assert agreement.fleiss_kappa(np.zeros((2, 3), np.int64)) is None
    assert agreement.fleiss_kappa(np.array([[3, 0], [3, 0]])) is None
    assert agreement.alpha_interval(np.array([[3, 0], [3, 0]])) is None
    assert agreement.alpha_interval(np.zeros((0, 3), np.int64)) is None
    table = np.array([(0, 0, 0), (0, 1, 0), (1, 0, 1), (1, 1, 1)])
    both = np.ones(2, dtype=np.bool_)
    found = agreement_tables.of_classes(table, both, ["cat", "dog", "owl"])
    assert [row.alpha for row in found] == [1, 1, None]


def test_fleiss_needs_as_many_answers_to_each_item() -> None:
    with pytest.raises(InvalidInputError, match="here are 2 to 3"):
        agreement.fleiss_kappa(np.array([[2, 0], [2, 1]]))


def test_agreement_of_regions_by_hand() -> None:
    """One thing nearly alike, one roughly, one that only the first drew; and an image where neither drew any."""
    first = np.array([[0.0, 0, 10, 10], [50, 0, 60, 10], [80, 0, 90, 10]])
    second = np.array([[50.0, 0, 60, 8], [0, 0, 10, 9.5]])
    found = agreement.of_regions([iou.of_boxes(first, second), np.zeros((0, 0))])
    assert found.regions == (3, 2)
    assert found.matched == 2
    assert found.mean_likeness == pytest.approx((0.95 + 0.8) / 2)
    assert found.f1 == pytest.approx((4 / 5, 4 / 5, 2 / 5))
    assert agreement.of_regions([np.zeros((0, 0))]) == agreement.RegionAgreement((0, 0), 0, None, None)
    assert agreement.of_regions([np.zeros((2, 0))]).f1 == (0, 0, 0)


def test_regions_are_matched_by_assignment() -> None:
    """The likest pair of all is not in the best matching: taken first, it would leave the other two unmatched."""
    overlaps = np.array([[0.6, 0.0], [0.7, 0.6]])
    assert agreement.of_regions([overlaps]).matched == 2


@given(
    arrays(
        np.float64, st.tuples(st.integers(0, 4), st.integers(0, 4)), elements=st.floats(0, 1).map(lambda x: round(x, 2))
    )
)
def test_agreement_of_regions_is_that_of_the_best_of_all_matchings(overlaps: np.ndarray) -> None:
    """At each threshold the pairs that reach it and have the largest sum of IoU."""
    found = agreement.of_regions([overlaps])
    wide = overlaps if overlaps.shape[0] <= overlaps.shape[1] else overlaps.T
    for number, threshold in enumerate(agreement.REGION_THRESHOLDS):
        chosen = [wide[np.arange(len(wide)), list(order)] for order in permutations(range(wide.shape[1]), len(wide))]
        best = max(each[each >= threshold].sum() for each in chosen)
        counts = {int((each >= threshold).sum()) for each in chosen if each[each >= threshold].sum() > best - 1e-9}
        if sum(overlaps.shape):
            assert found.f1 is not None
            assert round(found.f1[number] * sum(overlaps.shape) / 2) in counts
        if number == 0:
            assert found.matched in counts
            assert (found.mean_likeness or 0) * found.matched == pytest.approx(best)
