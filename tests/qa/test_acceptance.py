"""Plans against published values, enumeration, and lots that are drawn."""

from collections.abc import Callable
from functools import cache
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, hypergeom

from qa import acceptance
from qa.acceptance import Kind, Levels, Plan, Severity, double, single
from store.errors import InvalidInputError

KINDS: tuple[Kind, ...] = ("single", "double", "sequential")
LEVELS = Levels(aql=0.01, ltpd=0.05)


def lot_accepted(plan: Plan, defectives: int, lot_size: int) -> float:
    return float(acceptance.of_lots(plan, np.array([defectives]), lot_size=lot_size).accepted[0])


def test_published_values_of_sas_qc() -> None:
    """SAS/QC User's Guide, Functions: PROBHYPR and PROBBNML in Evaluating Single-Sampling Plans, PROBACC2, ASN2, AOQ2.

    https://support.sas.com/documentation/cdl/en/qcug/65562/HTML/default/qcug_functions_sect061.htm and its neighbours.
    """
    assert lot_accepted(single(20, 1), 22, 120) == pytest.approx(0.0762970752, abs=1e-10)
    of_process = acceptance.of_process(single(20, 1), np.array([0.18]), lot_size=120)
    assert of_process.accepted[0] == pytest.approx(0.1018322793, abs=1e-10)
    two = acceptance.of_process(double(13, 13, (0, 1), reject=2), np.array([0.18]), lot_size=120)
    assert two.accepted[0] == pytest.approx(0.0921738126, abs=1e-10)
    assert two.sampled[0] == pytest.approx(15.811418112, abs=1e-9)
    assert two.outgoing[0] == pytest.approx(0.0144743043, abs=1e-10)


def test_where_sas_qc_draws_the_second_sample_from_the_whole_lot_again_we_do_not() -> None:
    """The example of PROBACC2(1,4,3,50,100,10,200) is 0.2396723824; the first sample has left the lot by then."""
    first = hypergeom.cdf(1, 200, 10, 50)
    again = first + sum(hypergeom.pmf(d, 200, 10, 50) * hypergeom.cdf(3 - d, 200, 10, 100) for d in (2, 3))
    assert again == pytest.approx(0.2396723824, abs=1e-10)
    rest = first + sum(hypergeom.pmf(d, 200, 10, 50) * hypergeom.cdf(3 - d, 150, 10 - d, 100) for d in (2, 3))
    assert lot_accepted(double(50, 100, (1, 3)), 10, 200) == pytest.approx(rest, abs=1e-12)


def test_published_plans() -> None:
    """The vignettes of two R packages: AccSamplingDesign, and AcceptanceSampling (A. Kiermeier, JSS 26(6), 2008)."""
    plan = acceptance.find("single", LEVELS, lot_size=10**6, process=True)
    assert plan == single(132, 3)
    assert acceptance.risks(plan, LEVELS, lot_size=10**6, process=True) == pytest.approx(
        (0.04425251, 0.0992283), abs=1e-7
    )
    middle = acceptance.of_process(plan, np.array([0.03]), lot_size=10**6)
    assert middle.accepted[0] == pytest.approx(0.4384354, abs=1e-7)
    tighter = Levels(0.01, 0.05, producers_risk=0.02, consumers_risk=0.15)
    assert acceptance.find("single", tighter, lot_size=10**6, process=True) == single(144, 4)
    wider = Levels(0.05, 0.15, producers_risk=0.05, consumers_risk=0.075)
    assert acceptance.find("single", wider, lot_size=10**6, process=True) == single(80, 7)


def test_published_values_of_planesmuestra() -> None:
    """The examples of another R package: f_CO.plan gives n = 65, c = 2 at 1.2 %, and f_DR.CO n = 125, c = 2 at 10 %.

    https://rdrr.io/cran/Planesmuestra/man/f_CO.plan.html and f_DR.CO.html.
    """
    good = acceptance.of_process(single(65, 2), np.array([0.012]), lot_size=2500).accepted[0]
    bad = acceptance.of_process(single(125, 2), np.array([0.1]), lot_size=2500).accepted[0]
    assert good == pytest.approx(0.9564398, abs=5e-8)
    assert bad == pytest.approx(0.000210835, abs=5e-10)


def test_published_outgoing_limit() -> None:
    """Minitab's example of attributes acceptance sampling: lots of 5,000, n = 52, c = 2; AOQL 2.603 % at 4.3 %.

    support.minitab.com, "Example of creating an attributes acceptance sampling plan": accepted are .957 of lots at
    1.5 % and .097 at 10 %.
    """
    plan = acceptance.find("single", Levels(0.015, 0.1), lot_size=5000, process=True)
    assert plan == single(52, 2)
    ends = acceptance.of_process(plan, np.array([0.015, 0.1]), lot_size=5000).accepted
    assert ends.round(3).tolist() == [0.957, 0.097]
    worst, at = acceptance.outgoing_limit(single(52, 2), lot_size=5000, process=True)
    assert (round(worst, 5), round(at, 3)) == (0.02603, 0.043)


@pytest.mark.parametrize(
    "plan",
    [
        single(3, 0),
        single(4, 1),
        single(7, 2),
        double(2, 2, (0, 1)),
        double(2, 3, (0, 2), reject=2),
        Plan((1, 2, 3, 4, 5), (-1, -1, 0, 0, 1), (2, 2, 2, 2, 2)),
        Plan((2, 3, 6), (-1, 0, 1), (2, 2, 2)),
    ],
)
def test_lots_of_seven_by_going_through_every_order(plan: Plan) -> None:
    """Every figure of the curve, from each of the ways in which so many defectives can lie in a lot."""
    curve = acceptance.of_lots(plan, np.arange(8), lot_size=7)
    for bad in range(8):
        rows = []
        for places in combinations(range(7), bad):
            defective = np.isin(np.arange(7), places)
            done = acceptance.decide(plan, defective)
            accepted = done.outcome == "accepted"
            rows.append((accepted, done.size, accepted * (bad - done.found) / 7, done.size if accepted else 7))
        figures = (curve.accepted[bad], curve.sampled[bad], curve.outgoing[bad], curve.inspected[bad])
        assert figures == pytest.approx(np.mean(np.array(rows, dtype=float), axis=0), abs=1e-12)


@given(st.integers(1, 60), st.integers(0, 5), st.integers(0, 400))
def test_one_sample_is_the_distribution_of_scipy(size: int, accept: int, bad: int) -> None:
    plan = single(size + accept, accept)
    assert lot_accepted(plan, bad, 400) == pytest.approx(hypergeom.cdf(accept, 400, bad, size + accept), abs=1e-10)
    by_rate = acceptance.of_process(plan, np.array([bad / 400]), lot_size=400)
    passing = binom.cdf(accept, size + accept, bad / 400)
    assert by_rate.accepted[0] == pytest.approx(passing, abs=1e-10)
    left = 400 - size - accept  # by the formulas of textbooks: what is not inspected, and what is where lots are sorted
    assert by_rate.outgoing[0] == pytest.approx(bad / 400 * passing * left / 400, abs=1e-10)
    assert by_rate.inspected[0] == pytest.approx(size + accept + (1 - passing) * left, abs=1e-7)


@given(st.integers(2, 30), st.integers(2, 30), st.integers(0, 2), st.integers(1, 3), st.integers(0, 120))
def test_two_samples_are_the_sums_of_scipys_distributions(n1: int, n2: int, c1: int, more: int, bad: int) -> None:
    """The second sample comes from what the first has left of a lot; of a process it is as the first."""
    first, second, both, rate = n1 + c1 + more, n2, c1 + more, bad / 120
    plan = double(first, second, (c1, both))
    undecided = np.arange(c1 + 1, both + 1)
    later = hypergeom.pmf(undecided, 120, bad, first) * hypergeom.cdf(
        both - undecided, 120 - first, np.clip(bad - undecided, 0, 120 - first), second
    )
    assert lot_accepted(plan, bad, 120) == pytest.approx(hypergeom.cdf(c1, 120, bad, first) + later.sum(), abs=1e-9)
    by_rate = acceptance.of_process(plan, np.array([rate]), lot_size=120)
    goes_on = binom.pmf(undecided, first, rate)
    passing = binom.cdf(c1, first, rate) + (goes_on * binom.cdf(both - undecided, second, rate)).sum()
    assert by_rate.accepted[0] == pytest.approx(passing, abs=1e-9)
    assert by_rate.sampled[0] == pytest.approx(first + second * goes_on.sum(), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("lot_size", "process"), [(70, False), (100, False), (500, False), (2000, False), (2000, True)]
)
def test_a_plan_keeps_both_risks(kind: Kind, lot_size: int, process: bool) -> None:
    plan = acceptance.find(kind, LEVELS, lot_size=lot_size, process=process)
    producers, consumers = acceptance.risks(plan, LEVELS, lot_size=lot_size, process=process)
    assert producers <= 0.05 + 1e-12
    assert consumers <= 0.10 + 1e-12
    assert plan.sizes[-1] <= lot_size


@pytest.mark.parametrize(("lot_size", "aql", "ltpd"), [(30, 0.04, 0.2), (60, 0.05, 0.2), (90, 0.03, 0.1)])
def test_no_smaller_single_plan_keeps_them(lot_size: int, aql: float, ltpd: float) -> None:
    good, bad = Levels(aql, ltpd).defectives(lot_size)
    fit = [
        (size, accept)
        for size in range(1, lot_size + 1)
        for accept in range(size)
        if hypergeom.cdf(accept, lot_size, good, size) >= 0.95 and hypergeom.cdf(accept, lot_size, bad, size) <= 0.10
    ]
    assert acceptance.find("single", Levels(aql, ltpd), lot_size=lot_size) == single(*min(fit))


@pytest.mark.parametrize(("lot_size", "aql", "ltpd"), [(40, 0.05, 0.2), (60, 0.05, 0.2)])
def test_no_double_plan_with_equal_samples_needs_fewer_on_average(lot_size: int, aql: float, ltpd: float) -> None:
    levels = Levels(aql, ltpd)
    fit = []
    for size in range(1, lot_size // 2 + 1):
        for first, both in combinations(range(min(7, size)), 2):
            curve = acceptance.of_lots(
                double(size, size, (first, both)), np.array(levels.defectives(lot_size)), lot_size=lot_size
            )
            if curve.accepted[0] >= 0.95 and curve.accepted[1] <= 0.10:
                fit.append(curve.sampled[0])
    found = acceptance.find("double", levels, lot_size=lot_size)
    curve = acceptance.of_lots(found, np.array(levels.defectives(lot_size)), lot_size=lot_size)
    assert curve.sampled[0] == pytest.approx(min(fit))


@pytest.mark.parametrize(
    ("ltpd", "plan"), [(0.04, double(318, 318, (7, 18))), (0.035, double(508, 508, (11, 27)))], ids=["0.04", "0.035"]
)
def test_double_plans_of_hard_terms_are_those_that_scipys_sums_gave(ltpd: float, plan: Plan) -> None:
    """By bisection for each pair of numbers, in 23 and 35 seconds: see the history of `qa.acceptance`."""
    assert acceptance.find("double", Levels(0.02, ltpd), lot_size=10_000) == plan


def test_a_risk_that_is_just_reached_is_kept() -> None:
    """Nine of ten items miss the one that is wrong in exactly a tenth of all orders, three of five two likewise."""
    assert acceptance.find("single", LEVELS, lot_size=10) == single(9, 0)
    assert acceptance.find("sequential", LEVELS, lot_size=10).sizes[-1] == 9
    assert acceptance.find("single", Levels(0.1, 0.3), lot_size=5) == single(3, 0)


def test_sequential_needs_fewest_items_and_its_lines_are_walds() -> None:
    """Wald's lines for p1 = .01, p2 = .06, by hand: h1 = 1.22, h2 = 1.57, s = .028."""
    plan = acceptance.find("sequential", Levels(0.01, 0.06), lot_size=10**5, process=True)
    assert plan.accept.index(0) + 1 == 44
    assert plan.reject[1] == 2
    assert plan.reject.index(3) + 1 == 16  # the first n with 1.57 + .028 n > 2
    expected = [
        acceptance.of_lots(acceptance.find(kind, LEVELS, lot_size=1000), np.array([10, 50]), lot_size=1000).sampled
        for kind in KINDS
    ]
    assert expected[0][0] > expected[1][0] > expected[2][0]
    assert expected[0][1] > expected[1][1] > expected[2][1]


@pytest.mark.parametrize("kind", KINDS)
def test_lots_that_are_drawn_meet_the_stated_risks(kind: Kind) -> None:
    """Ten seeds of 400 lots at either level: as often rejected and accepted as said, within four standard errors."""
    lot_size, lots = 300, 400
    plan = acceptance.find(kind, Levels(0.02, 0.08), lot_size=lot_size)
    stated = acceptance.risks(plan, Levels(0.02, 0.08), lot_size=lot_size)
    seen = np.zeros((10, 2))
    for seed in range(10):
        generator = np.random.default_rng(seed)
        for column, (bad, wrong) in enumerate([(6, "rejected"), (24, "accepted")]):
            defective = np.arange(lot_size) < bad
            outcomes = [acceptance.decide(plan, generator.permutation(defective)).outcome for _ in range(lots)]
            seen[seed, column] = np.mean([outcome == wrong for outcome in outcomes])
    for column, risk in enumerate(stated):
        error = np.sqrt(risk * (1 - risk) / lots)
        assert np.all(np.abs(seen[:, column] - risk) <= 4 * error + 1e-9)
        assert abs(seen[:, column].mean() - risk) <= 4 * error / np.sqrt(10)


def best_of_withdrawals(kind: Kind, levels: Levels, lot_size: int, may_withdraw: Callable[[int], bool]) -> float:
    """How often a lot at the LTPD is accepted, whoever looks after each answer and withdraws where that serves best.

    Exact, backwards from the end of each plan; what is withdrawn leaves what was inspected, and is planned anew.
    """

    @cache
    def accepted(items: int, bad: int) -> float:
        try:
            plan = acceptance.find(kind, levels, lot_size=items)
        except InvalidInputError:
            return 0.0  # no lot is made of so few
        stages = {size: (low, high) for size, low, high in zip(plan.sizes, plan.accept, plan.reject, strict=True)}

        @cache
        def after(seen: int, found: int) -> float:
            low, high = stages.get(seen, (-1, found + 1))
            if found <= low or found >= high:
                return float(found <= low)
            chance = (bad - found) / (items - seen)
            going_on = (chance * after(seen + 1, found + 1) if chance > 0 else 0.0) + (
                (1 - chance) * after(seen + 1, found) if chance < 1 else 0.0
            )
            return max(going_on, accepted(items - seen, bad - found)) if seen and may_withdraw(found) else going_on

        return after(0, 0)

    return accepted(lot_size, levels.defectives(lot_size)[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("lot_size", "aql", "ltpd"), [(40, 0.05, 0.3), (60, 0.05, 0.2), (80, 0.025, 0.15)])
def test_no_withdrawal_raises_the_consumers_risk(kind: Kind, lot_size: int, aql: float, ltpd: float) -> None:
    levels = Levels(aql, ltpd)
    assert best_of_withdrawals(kind, levels, lot_size, acceptance.may_withdraw) <= 0.10 + 1e-12
    assert best_of_withdrawals(kind, levels, lot_size, lambda found: found <= 1) > 0.105  # one found is too many


def test_the_sample_of_an_undecided_lot_grows_to_where_it_may_be_accepted() -> None:
    plan = double(5, 5, (0, 2))
    start = acceptance.decide(plan, np.zeros(0, dtype=bool))
    assert (start.outcome, acceptance.next_size(plan, start)) == ("continue", 5)
    one = acceptance.decide(plan, np.array([True, False, False, False, False]))
    assert (one.outcome, one.found, acceptance.next_size(plan, one)) == ("continue", 1, 10)
    assert acceptance.decide(plan, np.array([True, False, False, False])).size == 0  # the first sample is not whole
    assert acceptance.decide(plan, np.array([True] * 3 + [False] * 2)).outcome == "rejected"
    assert acceptance.decide(plan, np.arange(10) < 2).outcome == "accepted"
    steps = Plan((1, 2, 3, 4, 5), (-1, -1, 0, 0, 1), (2, 2, 2, 2, 2))
    assert acceptance.next_size(steps, acceptance.decide(steps, np.zeros(0, dtype=bool))) == 3
    assert acceptance.next_size(steps, acceptance.decide(steps, np.array([True, False, False]))) == 5


@pytest.mark.parametrize("lot_size", [150, 1000])
def test_the_more_severe_the_less_passes(lot_size: int) -> None:
    levels = Levels(0.02, 0.08)
    consumers = []
    for severity in ("tightened", "normal", "reduced"):
        plan = acceptance.find("single", levels.under(severity), lot_size=lot_size)
        consumers.append(acceptance.risks(plan, levels, lot_size=lot_size)[1])
    assert consumers[0] < 0.05 < consumers[1] <= 0.1 < consumers[2]
    given_numbers = [
        acceptance.rescale(single(50, 2), severity, lot_size=lot_size) for severity in ("reduced", "tightened")
    ]
    assert given_numbers == [single(32, 2), single(80, 2)]  # as code letters G and J beside H of the standards
    assert acceptance.rescale(single(500, 2), "normal", lot_size=lot_size) == single(min(500, lot_size), 2)


def test_a_double_plan_stays_as_it_was_given_under_normal_inspection() -> None:
    for plan in (acceptance.double(8, 8, (3, 8)), acceptance.double(5, 5, (1, 9))):
        assert acceptance.rescale(plan, "normal", lot_size=500) == plan
    assert acceptance.rescale(acceptance.double(8, 8, (3, 8)), "reduced", lot_size=500).sizes == (6, 11)


def test_no_severity_accepts_a_lot_of_which_every_item_is_wrong() -> None:
    assert acceptance.rescale(double(4, 40, (3, 6)), "reduced", lot_size=500).sizes == (4, 28)
    for first, second, low, more, lot_size in product(range(1, 7), range(1, 7), range(4), range(4), (8, 50)):
        if low >= first or low + more >= min(first + second, lot_size):
            continue  # such a plan cannot be given
        for severity in acceptance.SEVERITIES:
            plan = acceptance.rescale(double(first, second, (low, low + more)), severity, lot_size=lot_size)
            every = np.array([0, lot_size])
            assert acceptance.of_lots(plan, every, lot_size=lot_size).accepted.tolist() == [1, 0]


def test_where_the_first_sample_is_the_whole_lot_there_is_no_second() -> None:
    assert acceptance.rescale(double(15, 15, (0, 2)), "tightened", lot_size=20) == single(20, 2)
    assert acceptance.rescale(double(15, 15, (0, 2)), "normal", lot_size=20) == Plan((15, 20), (0, 2), (3, 3))


def history(*runs: tuple[Severity, str]) -> list[tuple[Severity, bool]]:
    return [(severity, letter == "+") for severity, letters in runs for letter in letters]


@pytest.mark.parametrize(
    ("lots", "follows"),
    [
        ([], "normal"),
        ([("normal", "-")], "normal"),
        ([("normal", "-+++-")], "tightened"),
        ([("normal", "-++++-")], "normal"),
        ([("normal", "--")], "tightened"),
        ([("normal", "+++++++++")], "normal"),
        ([("normal", "++++++++++")], "reduced"),
        ([("normal", "-++++++++++")], "reduced"),
        ([("normal", "++++++++++"), ("reduced", "++")], "reduced"),
        ([("normal", "++++++++++"), ("reduced", "+-")], "normal"),
        ([("normal", "++++++++++"), ("reduced", "-"), ("normal", "-")], "normal"),  # a new window
        ([("normal", "--"), ("tightened", "++++")], "tightened"),
        ([("normal", "--"), ("tightened", "+++++")], "normal"),
        ([("normal", "--"), ("tightened", "++++-++++")], "tightened"),
        ([("normal", "--"), ("tightened", "-+-+-+-")], "tightened"),
        ([("normal", "--"), ("tightened", "-+-+-+--")], "discontinued"),
        ([("normal", "--"), ("tightened", "-----"), ("tightened", "+")], "tightened"),  # the vendor mended it
        ([("tightened", "+++++")], "normal"),
        ([("normal", "--"), ("reduced", "+")], "tightened"),  # less severely by hand: what passes says nothing
        ([("normal", "--"), ("normal", "+++++")], "tightened"),
        ([("normal", "--"), ("tightened", "++"), ("normal", "+"), ("tightened", "++")], "tightened"),
        ([("normal", "--"), ("tightened", "++"), ("normal", "+"), ("tightened", "+++")], "normal"),
        (
            [("normal", "--"), ("tightened", "++"), ("normal", "-"), ("tightened", "+++")],
            "tightened",
        ),  # what fails does
        ([("normal", "--"), ("tightened", "----"), ("reduced", "-")], "discontinued"),
        ([("reduced", "++++++++++")], "normal"),
        ([("reduced", "--")], "tightened"),
        ([("normal", "--"), ("tightened", "-----"), ("normal", "+++++")], "discontinued"),
        ([("normal", "--"), ("tightened", "-----"), ("reduced", "-")], "discontinued"),
        ([("normal", "++++++++++"), ("normal", "++")], "normal"),  # more severely by hand: it begins anew
        ([("normal", "+++"), ("tightened", "+")], "tightened"),
    ],
)
def test_switching_rules(lots: list[tuple[Severity, str]], follows: str) -> None:
    assert acceptance.standing(history(*lots)) == follows


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Levels(0.1, 0.1), "AQL < LTPD"),
        (lambda: Levels(0, 0.1), "AQL < LTPD"),
        (lambda: Levels(float("nan"), 0.1), "AQL < LTPD"),
        (lambda: Levels(0.01, 0.1, producers_risk=1.5), "Risks lie between"),
        (lambda: single(3, 3), "rejects nothing"),
        (lambda: double(3, 23, (3, 6)), "accepts 3 defectives among 3 items rejects nothing"),
        (lambda: single(0, 0), "samples that grow"),
        (lambda: double(5, 5, (2, 1)), "acceptance below a rejection number"),
        (lambda: acceptance.find("single", LEVELS, lot_size=0), "A lot has items"),
        (lambda: acceptance.find("single", LEVELS, lot_size=20, process=True), "too small for a single plan"),
        (lambda: acceptance.find("double", LEVELS, lot_size=3), "use a single plan"),
        (lambda: acceptance.find("sequential", LEVELS, lot_size=20, process=True), "too small for a single plan"),
        (
            lambda: acceptance.find("double", Levels(0.02, 0.022), lot_size=10_000),
            "A double plan with these risks would inspect more than 6,741 items: use a single plan",
        ),
    ],
)
def test_what_makes_no_plan_is_said(make: object, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        make()  # type: ignore[operator]


def test_lots_of_one_item_are_inspected_whole() -> None:
    assert acceptance.find("single", LEVELS, lot_size=1) == single(1, 0)
