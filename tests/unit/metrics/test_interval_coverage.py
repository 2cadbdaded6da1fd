"""Do 95% intervals hold the truth in 95% of cases: 2,000 simulated data sets of each of the record's sizes, within 1.5
points (one standard error of the simulation is 0.5).

For a proportion the true rate is itself drawn, from what the record leaves plausible: at one fixed rate the coverage of
any interval of a count jumps with the rate (Wilson at exactly 7/86: 92.9%, at 139/323: 95.1%; `test_wilson_at_the_very_
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
    "middle_east": [[105, 57, 0], [34, 110, 0]],
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


def coverage(intervals_of, truths, data_sets):
    """Share of data sets whose interval holds the truth, by metric."""
    hits = dict.fromkeys(truths, 0)
    for seed, drawn in enumerate(data_sets):
        for name, found in intervals_of(*drawn, seed=seed).items():
            # The replicates are ratios of whole numbers, and so may the truth be: equal but for the last bit is held.
            hits[name] += found.low - 1e-12 <= truths[name] <= found.high + 1e-12
    return {name: count / NUM_DATA_SETS for name, count in hits.items()}


def drawn_like(table, n, rng):
    cells = np.array(table)
    share = cells.ravel() / cells.sum()
    return rng.multinomial(n, share, size=NUM_DATA_SETS).reshape(-1, *cells.shape)


@pytest.mark.parametrize("name", TABLES)
def test_bootstrap_of_one_group(name):
    rng, table = np.random.default_rng(len(name)), np.array(TABLES[name])
    formulas = {metric: BINARY[metric] for metric in ("accuracy", "f1", "mcc", "fpr")}
    truths = {metric: float(formula(table)) for metric, formula in formulas.items()}
    data_sets = [(drawn,) for drawn in drawn_like(table, int(table.sum()), rng)]
    intervals_of = partial(bootstrap_intervals, formulas=formulas, replicates=REPLICATES)
    found = coverage(intervals_of, truths, data_sets)
    assert all(map(near_95, found.values())), found


def test_bootstrap_of_a_group_of_86():
    """As small as the record's smallest class. FPR is left to Wilson: some 35 negatives have 3 false positives."""
    rng, table = np.random.default_rng(86), np.array(TABLES["mexican"])
    formulas = {metric: BINARY[metric] for metric in ("accuracy", "f1", "mcc")}
    truths = {metric: float(formula(table)) for metric, formula in formulas.items()}
    intervals_of = partial(bootstrap_intervals, formulas=formulas, replicates=REPLICATES)
    found = coverage(intervals_of, truths, [(drawn,) for drawn in drawn_like(table, 86, rng)])
    assert all(map(near_95, found.values())), found


def test_bootstrap_of_the_difference_between_two_groups():
    rng, (a, b) = np.random.default_rng(7), (np.array(TABLES[name]) for name in ("lgbtq", "mexican"))
    formulas = {metric: BINARY[metric] for metric in ("f1", "fpr")}
    truths = {metric: float(formula(a) - formula(b)) for metric, formula in formulas.items()}
    data_sets = zip(drawn_like(a, int(a.sum()), rng), drawn_like(b, int(b.sum()), rng), strict=True)
    found = coverage(partial(bootstrap_differences, formulas=formulas, replicates=REPLICATES), truths, data_sets)
    assert all(map(near_95, found.values())), found


def test_bootstrap_of_the_change_between_two_runs():
    rng, joint = np.random.default_rng(8), np.zeros((2, 3, 3), int)
    joint[0], joint[1] = [[230, 20, 2], [35, 160, 1], [3, 2, 2]], [[140, 25, 1], [32, 350, 1], [2, 2, 1]]
    formulas = {metric: difference_of(BINARY[metric]) for metric in ("accuracy", "f1", "fpr")}
    truths = {metric: float(formula(joint)) for metric, formula in formulas.items()}
    data_sets = [(drawn,) for drawn in drawn_like(joint, int(joint.sum()), rng)]
    found = coverage(partial(bootstrap_intervals, formulas=formulas, replicates=REPLICATES), truths, data_sets)
    assert all(map(near_95, found.values())), found
