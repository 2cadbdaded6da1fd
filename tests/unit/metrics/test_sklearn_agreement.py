"""1,000 random tables with ties, empty groups and single classes against scikit-learn, record by record. Where
scikit-learn warns and says 0.0 for an empty denominator, ours is None."""

import numpy as np
import pytest
from sklearn import metrics as sk

from sftlib.metrics.calibration import calibration_metrics
from sftlib.metrics.counts import Counts, rates
from sftlib.metrics.multiclass import multiclass_rates
from sftlib.metrics.ranking import auroc, average_precision
from sftlib.metrics.scores import tied_table

NUM_TABLES = 1_000


def nan_is_none(value):
    return None if np.isnan(value) else pytest.approx(value, abs=1e-12)


def expect_class_scores(found, label, outcome, classes):
    """Precision, recall, F1 by class and their means; found maps name to value."""
    by_class = sk.precision_recall_fscore_support(label, outcome, labels=classes, zero_division=np.nan)
    defined = [score[~np.isnan(score)] for score in by_class[:3]]
    assert found["macro_f1"] == (pytest.approx(defined[2].mean()) if defined[2].size else None)
    return by_class


@pytest.mark.filterwarnings("ignore")
def test_binary_tables(random_matrices, rows_of):
    for matrix in random_matrices(NUM_TABLES, (2, 3)):
        label, outcome = rows_of(matrix)
        found = rates(Counts.from_matrix(matrix))
        if not label.size:
            assert found["f1"] is None
            continue
        precision, recall, f1, _ = expect_class_scores(found, label, outcome, [0, 1])
        assert (found["precision"], found["recall"], found["f1"]) == tuple(
            map(nan_is_none, (precision[0], recall[0], f1[0]))
        )
        assert found["accuracy"] == pytest.approx(sk.accuracy_score(label, outcome))
        assert (found["mcc"] or 0.0) == pytest.approx(sk.matthews_corrcoef(label, outcome), abs=1e-12)
        support = matrix.sum(1)
        weighted = (np.nan_to_num(f1) * support).sum() / support.sum()
        assert found["weighted_f1"] == pytest.approx(weighted, abs=1e-12)
        parsed = outcome < 2
        if support.all():
            assert found["balanced_accuracy"] == pytest.approx(recall.mean())
        (tp, fn), (fp, tn) = (
            sk.confusion_matrix(label[parsed], outcome[parsed], labels=[0, 1]) if parsed.any() else [[0] * 2] * 2
        )
        assert found["fpr"] == (pytest.approx(fp / (fp + tn)) if fp + tn else None)
        assert found["fnr"] == (pytest.approx(fn / (fn + tp)) if fn + tp else None)


@pytest.mark.filterwarnings("ignore")
def test_multiclass_tables(random_matrices, rows_of):
    names = ["hate", "offensive", "normal", "unclear"]
    for matrix in random_matrices(NUM_TABLES // 4, (4, 5), seed=1):
        label, outcome = rows_of(matrix)
        found = multiclass_rates(matrix, names)
        if not label.size:
            assert found["accuracy"] is None
            continue
        by_class = expect_class_scores(found, label, outcome, [0, 1, 2, 3])
        for index, name in enumerate(names):
            mine = found["classes"][name]
            scores = [score[index] for score in by_class[:3]]
            assert [mine["precision"], mine["recall"], mine["f1"]] == [nan_is_none(score) for score in scores]
            assert mine["support"] == by_class[3][index]
        assert found["accuracy"] == pytest.approx(sk.accuracy_score(label, outcome))
        assert (found["mcc"] or 0.0) == pytest.approx(sk.matthews_corrcoef(label, outcome), abs=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_scores_with_ties():
    rng = np.random.default_rng(2)
    for _ in range(NUM_TABLES):
        n = int(rng.integers(1, 40))
        is_positive = rng.random(n) < rng.choice([0.0, 0.1, 0.5, 1.0])
        p = rng.integers(1, rng.choice([3, 20]) * 5, size=n) / 100
        label = (~is_positive).astype(int)
        _, table = tied_table(label, p)
        one_class = is_positive.all() or not is_positive.any()
        assert auroc(table) == (None if one_class else pytest.approx(sk.roc_auc_score(is_positive, p)))
        expected = pytest.approx(sk.average_precision_score(is_positive, p)) if is_positive.any() else None
        assert average_precision(table) == expected
        found = calibration_metrics(label, p)
        assert found["brier"] == pytest.approx(
            sk.brier_score_loss(is_positive, p, pos_label=True, labels=[False, True])
        )
        assert found["log_loss"] == pytest.approx(sk.log_loss(is_positive, p, labels=[False, True]))
