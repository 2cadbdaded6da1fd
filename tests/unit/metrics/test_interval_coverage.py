"""Do 95% intervals hold the truth in 95% of cases: 2,000 simulated data sets of each of the record's sizes, within 1.5
points (one standard error of the simulation is 0.5).

The truth of each data set is itself drawn, from what the record leaves plausible: at one fixed rate the coverage of any
interval of a count jumps with the rate (Wilson at exactly 7/86: 92.9%, at 139/323: 95.1%; `test_wilson_at_the_very_
rates_of_the_record` pins that)."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import binom

from sftlib.metrics.bootstrap import bootstrap_differences, bootstrap_intervals
from sftlib.metrics.formulas import BINARY
from sftlib.metrics.intervals import newcombe, wilson_bounds
from sftlib.metrics.paired import difference_of

NUM_DATA_SETS = 2_000
REPLICATES = 1_000  # a tenth of the default: enough for coverage, and ten times faster
# Wrong answers and records of the record's rates: FPR, then FNR, by group and overall; last, its accuracy.
PROPORTIONS = [(139, 323), (7, 86), (34, 144), (67, 170), (49, 123), (57, 162), (180, 553), (173, 455), (655, 1009)]
TABLES = {
    "lgbtq": [[103, 67, 0], [139, 184, 0]],
    "mexican": [[74, 49, 0], [7, 79, 0]],
    "overall with unparsed": [[270, 168, 17], [178, 370, 6]],
}


def near_95(share):
    return 0.935 <= share <= 0.965


def plausible_rates(hits, n, rng):
    return rng.beta(hits + 0.5, n - hits + 0.5, size=NUM_DATA_SETS)


@pytest.mark.parametrize(("hits", "n"), PROPORTIONS)
def test_wilson(hits, n):
    rng = np.random.default_rng(n)
    truth = plausible_rates(hits, n, rng)
    low, high = wilson_bounds(rng.binomial(n, truth), np.full(NUM_DATA_SETS, n))
    assert near_95(((low <= truth) & (truth <= high)).mean())


def test_a_poor_interval_is_caught():
    """Wald's interval, and each of ours at 92.5%: the criterion must refuse them, or it would show nothing."""
    rng = np.random.default_rng(0)
    hits, n = 7, 86
    truth = plausible_rates(hits, n, rng)
    seen = rng.binomial(n, truth) / n
    reach = 1.96 * np.sqrt(seen * (1 - seen) / n)
    assert not near_95(((seen - reach <= truth) & (truth <= seen + reach)).mean())
    low, high = wilson_bounds(seen * n, np.full(NUM_DATA_SETS, n), 0.925)
    assert not near_95(((low <= truth) & (truth <= high)).mean())
    drawn = zip(
        rng.binomial(323, 0.43, NUM_DATA_SETS).tolist(), rng.binomial(144, 0.236, NUM_DATA_SETS).tolist(), strict=True
    )
    gaps = [newcombe(x, 323, y, 144, 0.925) for x, y in drawn]
    assert not near_95(np.mean([gap.low <= 0.43 - 0.236 <= gap.high for gap in gaps]))
    formulas, table = formulas_of("f1"), np.array(TABLES["overall with unparsed"])
    found = coverage(
        partial(bootstrap_intervals, formulas=formulas, confidence=0.925),
        lambda shares: {metric: formula(shares) for metric, formula in formulas.items()},
        [(table, int(table.sum()))],
        num_data_sets=NUM_DATA_SETS // 2,
    )
    assert not near_95(found["f1"])


@pytest.mark.parametrize(("hits", "n", "exact"), [(7, 86, 0.9290), (34, 144, 0.9384), (139, 323, 0.9509)])
def test_wilson_at_the_very_rates_of_the_record(hits, n, exact):
    possible, truth = np.arange(n + 1), hits / n
    low, high = wilson_bounds(possible, np.full(n + 1, n))
    covered = binom.pmf(possible, n, truth)[(low <= truth) & (truth <= high)].sum()
    assert covered == pytest.approx(exact, abs=5.1e-5)


@pytest.mark.parametrize(("a", "b"), [(0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5)])
def test_newcombe(a, b):
    """Here the record's very rates are the truth: two lattices blur each other."""
    rng = np.random.default_rng(10 * a + b)
    (hits_a, n_a), (hits_b, n_b) = PROPORTIONS[a], PROPORTIONS[b]
    drawn = zip(
        rng.binomial(n_a, hits_a / n_a, NUM_DATA_SETS).tolist(),
        rng.binomial(n_b, hits_b / n_b, NUM_DATA_SETS).tolist(),
        strict=True,
    )
    truth = hits_a / n_a - hits_b / n_b
    gaps = [newcombe(x, n_a, y, n_b) for x, y in drawn]
    assert near_95(np.mean([gap.low <= truth <= gap.high for gap in gaps]))


def coverage(intervals_of, truths_of, samples, num_data_sets=NUM_DATA_SETS):
    """Share of data sets whose interval holds the truth, by metric. Each sample is (table, n): for every data set its
    true shares are drawn around the table's, and n records from them."""
    rng, held = np.random.default_rng(sum(n for _, n in samples)), {}
    for seed in range(num_data_sets):
        shares = [_plausible_shares(table, rng) for table, _ in samples]
        drawn = [rng.multinomial(n, s.ravel()).reshape(s.shape) for s, (_, n) in zip(shares, samples, strict=True)]
        truths = truths_of(*shares)
        for name, found in intervals_of(*drawn, replicates=REPLICATES, seed=seed).items():
            held[name] = held.get(name, 0) + (found.low <= truths[name] <= found.high)
    return {name: count / num_data_sets for name, count in held.items()}


def _plausible_shares(table, rng):
    used = table > 0  # a cell that the record leaves empty stays impossible
    shares = np.zeros(table.shape)
    shares[used] = rng.dirichlet(table[used] + 0.5)
    return shares


def formulas_of(*names):
    return {name: BINARY[name] for name in names}


@pytest.mark.parametrize("name", TABLES)
def test_bootstrap_of_one_group(name):
    table, formulas = np.array(TABLES[name]), formulas_of("accuracy", "f1", "mcc", "fpr")
    found = coverage(
        partial(bootstrap_intervals, formulas=formulas),
        lambda shares: {metric: formula(shares) for metric, formula in formulas.items()},
        [(table, int(table.sum()))],
    )
    assert all(map(near_95, found.values())), found


def test_bootstrap_of_a_group_of_86():
    """As small as the record's smallest class. FPR is left to Wilson: some 35 negatives have 3 false positives."""
    formulas = formulas_of("accuracy", "f1", "mcc")
    found = coverage(
        partial(bootstrap_intervals, formulas=formulas),
        lambda shares: {metric: formula(shares) for metric, formula in formulas.items()},
        [(np.array(TABLES["mexican"]), 86)],
        num_data_sets=2 * NUM_DATA_SETS,
    )
    assert all(map(near_95, found.values())), found


def test_bootstrap_of_the_difference_between_two_groups():
    formulas = formulas_of("f1", "fpr")
    found = coverage(
        partial(bootstrap_differences, formulas=formulas),
        lambda a, b: {metric: formula(a) - formula(b) for metric, formula in formulas.items()},
        [(np.array(TABLES[name]), n) for name, n in (("lgbtq", 493), ("mexican", 209))],
    )
    assert all(map(near_95, found.values())), found


def test_bootstrap_of_the_change_between_two_runs():
    joint = np.zeros((2, 3, 3), int)
    joint[:, :2, :2] = [[[234, 22], [37, 162]], [[142, 26], [34, 352]]]
    changes = {metric: difference_of(formula) for metric, formula in formulas_of("accuracy", "f1").items()}
    found = coverage(
        partial(bootstrap_intervals, formulas=changes),
        lambda shares: {metric: change(shares) for metric, change in changes.items()},
        [(joint, int(joint.sum()))],
    )
    assert all(map(near_95, found.values())), found
