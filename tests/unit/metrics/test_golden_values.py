"""Every golden value of the evaluation contract, to the digits given there."""

import numpy as np
import pytest

from sftlib.metrics.calibration import calibration_metrics
from sftlib.metrics.counts import Counts, rates, total
from sftlib.metrics.fairness import disparities
from sftlib.metrics.intervals import newcombe, wilson
from sftlib.metrics.paired import compare, mcnemar, mcnemar_p_values
from sftlib.metrics.ranking import auroc, bias_aucs, tables_by_group

KEYS = {
    *("n", "n_positive", "n_negative", "tp", "fn", "fp", "tn", "unparsed_positive", "unparsed_negative"),
    *("accuracy", "precision", "recall", "f1", "macro_f1", "mcc", "selection_rate", "parse_rate"),
    *("fpr", "fpr_low", "fpr_high", "fnr", "fnr_low", "fnr_high"),
}
GROUP_RATES = {
    "lgbtq": {"fpr": 0.430341, "fnr": 0.394118, "selection_rate": 0.490872, "f1": 0.5, "mcc": 0.166902},
    "mexican": {"fpr": 0.081395, "fnr": 0.398374, "selection_rate": 0.387560, "f1": 0.725490, "mcc": 0.525473},
    "middle_east": {"fpr": 0.236111, "fnr": 0.351852, "selection_rate": 0.454248, "f1": 0.697674, "mcc": 0.413056},
}
GROUP_BOUNDS = {
    "lgbtq": {"fpr": (0.377475, 0.484843), "fnr": (0.323779, 0.469135)},
    "mexican": {"fpr": (0.039986, 0.158602), "fnr": (0.316199, 0.486705)},
    "middle_east": {"fpr": (0.174168, 0.311768), "fnr": (0.282522, 0.428045)},
}


def six_digits(value):
    return pytest.approx(value, abs=5.001e-7)


def test_m_object_has_every_key_of_the_contract(golden):
    assert set(rates(golden["lgbtq"])) >= KEYS


@pytest.mark.parametrize("group", GROUP_RATES)
def test_rates_of_each_group(golden, group):
    found = rates(golden[group])
    assert {name: found[name] for name in GROUP_RATES[group]} == six_digits(GROUP_RATES[group])


@pytest.mark.parametrize("group", GROUP_BOUNDS)
def test_wilson_bounds_of_each_group(golden, group):
    found = rates(golden[group])
    for name, bounds in GROUP_BOUNDS[group].items():
        assert (found[f"{name}_low"], found[f"{name}_high"]) == six_digits(bounds)


def test_rates_of_all_groups_together(golden):
    found = rates(total(golden.values()))
    expected = {
        "fpr": 0.325497,
        "fnr": 0.380220,
        "selection_rate": 0.458333,
        "f1": 0.615049,
        "mcc": 0.293911,
        "accuracy": 0.649802,
        "macro_f1": 0.646924,
    }
    assert {name: found[name] for name in expected} == six_digits(expected)


def test_disparities(golden):
    found = disparities(golden)
    expected = {
        "demographic_parity_difference": 0.103312,
        "demographic_parity_ratio": 0.789533,
        "equalized_odds_difference": 0.348945,
        "equalized_odds_difference_mean": 0.197734,
        "equalized_odds_ratio": 0.189142,
        "equal_opportunity_difference": 0.046522,
        "fped": 0.438331,
        "fned": 0.060420,
    }
    assert {name: found[name] for name in expected} == six_digits(expected)


def test_pairwise_tests_under_holm_over_all_six(golden):
    tested = {
        (row["metric"], row["a"], row["b"]): row for row in disparities(golden)["pairwise"] if row["p"] is not None
    }
    assert len(tested) == 6
    first = tested["fpr", "lgbtq", "mexican"]
    assert (first["low"], first["high"]) == six_digits((0.255374, 0.417394))
    assert first["p"] == pytest.approx(1.946e-9, rel=3e-4)
    assert first["p_holm"] == pytest.approx(1.168e-8, rel=5e-4)
    second = tested["fpr", "lgbtq", "middle_east"]
    assert (second["p"], second["p_holm"]) == (pytest.approx(5.974e-5, rel=1e-4), pytest.approx(2.987e-4, rel=2e-4))
    third = tested["fpr", "mexican", "middle_east"]
    assert (third["p"], third["p_holm"]) == six_digits((0.003015, 0.012059))
    assert [row["p_holm"] for (metric, *_), row in tested.items() if metric == "fnr"] == [1.0, 1.0, 1.0]


def test_omnibus_chi_square(golden):
    fpr, fnr = (disparities(golden)["omnibus"][metric] for metric in ("fpr", "fnr"))
    assert (fpr["df"], fnr["df"]) == (2, 2)
    assert fpr["statistic"] == pytest.approx(44.7526, abs=5e-5)
    assert fpr["p"] == pytest.approx(1.915e-10, rel=3e-4)
    assert (fnr["statistic"], fnr["p"]) == (pytest.approx(0.8646, abs=5e-5), pytest.approx(0.6490, abs=5e-5))


def test_one_unparsed_normal_moves_the_bounds_and_counts_as_wrong(golden):
    with_hole = golden | {"lgbtq": golden["lgbtq"] + Counts(un=1)}
    group, whole = rates(with_hole["lgbtq"]), rates(total(with_hole.values()))
    assert (group["fpr_bound_low"], group["fpr_bound_high"]) == six_digits((0.429012, 0.432099))
    assert group["fpr"] == six_digits(0.430341)
    assert group["n"] == 494
    assert whole["n"] == 1009
    assert whole["accuracy"] == 655 / 1009


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson(hits, n, low, high):
    assert wilson(hits, n) == pytest.approx((low, high), abs=5.001e-5)


def test_newcombe_of_fpr():
    assert newcombe(139, 323, 7, 86) == six_digits((0.348945, 0.255374, 0.417394))


@pytest.mark.parametrize(
    ("table", "p", "digit"),
    [
        ([[101, 121], [59, 33]], 4.43445e-6, 5e-12),
        ([[700, 15], [5, 280]], 0.0413895, 5e-8),
        ([[625, 29], [47, 307]], 0.0505, 5e-5),
    ],
)
def test_mcnemar_exact(table, p, digit):
    (both_right, a_only), (b_only, both_wrong) = table
    joint = np.zeros((2, 3, 3), int)
    joint[0, :2, :2] = [[both_right, a_only], [b_only, both_wrong]]
    assert mcnemar(joint)["exact_p"] == pytest.approx(p, abs=digit)
    assert mcnemar_p_values(a_only, b_only)[0] == pytest.approx(p, abs=digit)


def test_run_comparison_reports_the_exact_p_for_accuracy():
    joint = np.zeros((2, 3, 3), int)
    joint[0, :2, :2] = [[625, 29], [47, 307]]
    assert compare(joint, replicates=200)["metrics"]["accuracy"]["p"] == pytest.approx(0.0505, abs=5e-5)


def test_bias_aucs_from_rows():
    scores = [0.90, 0.60, 0.55, 0.20, 0.70, 0.65, 0.40, 0.10, 0.80, 0.35, 0.50, 0.05]
    is_hate = np.array([1, 0, 1, 0, 1, 0, 0, 1, 1, 1, 0, 0])
    groups = np.array(list("AAAABBBBCCCC"))
    overall, tables = tables_by_group(1 - is_hate, scores, {name: groups == name for name in "ABC"})
    found = bias_aucs(overall, tables)
    assert auroc(overall) == six_digits(0.694444)
    assert {group: tuple(aucs.values()) for group, aucs in found["groups"].items()} == {
        "A": (0.75, 0.625, 0.875),
        "B": (0.5, 0.625, 0.625),
        "C": (0.75, 0.875, 0.625),
    }
    assert tuple(found["generalised_mean"].values()) == six_digits((0.594412, 0.665851, 0.665851))


@pytest.mark.parametrize(("bins", "ece"), [(2, 0.07), (5, 0.19), (10, 0.31)])
def test_brier_and_ece(bins, ece):
    p = [0.95, 0.85, 0.85, 0.75, 0.65, 0.55, 0.45, 0.35, 0.25, 0.05]
    is_hate = np.array([1, 1, 0, 1, 1, 0, 1, 0, 0, 0])
    found = calibration_metrics(1 - is_hate, p, bins)
    assert found["brier"] == pytest.approx(0.1725, abs=1e-12)
    assert (found["ece"], found["ece_bins"]) == (pytest.approx(ece, abs=1e-12), bins)
