"""What reading nothing earns on the record's test set."""

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import brier_score_loss, f1_score, log_loss

from sftlib.metrics.trivial import prior_rates, trivial_baselines


def test_always_hate_beats_several_published_results():
    found = trivial_baselines(n_positive=455, n_negative=554)
    assert found["always_positive"]["f1"] == pytest.approx(0.6216, abs=5e-5)
    assert (found["always_positive"]["fpr"], found["always_positive"]["mcc"]) == (1.0, None)
    assert (found["always_negative"]["f1"], found["always_negative"]["precision"]) == (0.0, None)
    assert found["always_negative"]["accuracy"] == pytest.approx(554 / 1009)


def test_prior_is_the_mean_of_guesses_and_its_scores_are_those_of_a_constant():
    is_positive = np.repeat([1, 0], [455, 554])
    found = prior_rates(455, 554, prior=0.3)
    guesses = [np.random.default_rng(k).random(1009) < 0.3 for k in range(200)]
    assert found["f1"] == pytest.approx(np.mean([f1_score(is_positive, guess) for guess in guesses]), abs=0.005)
    assert found["fpr"] == pytest.approx(0.3)
    constant = np.full(1009, 0.3)
    assert found["brier"] == pytest.approx(brier_score_loss(is_positive, constant))
    assert found["log_loss"] == pytest.approx(log_loss(is_positive, constant))
    assert found["auroc"] == 0.5


def test_prior_of_the_set_itself_by_default():
    features = np.zeros((100, 1))
    label = np.repeat([1, 0], [30, 70])
    dummy = DummyClassifier(strategy="prior").fit(features, label)
    assert prior_rates(30, 70)["brier"] == pytest.approx(brier_score_loss(label, dummy.predict_proba(features)[:, 1]))


def test_edges():
    assert set(prior_rates(0, 0).values()) == {None}
    assert prior_rates(10, 0)["auroc"] is None
    assert prior_rates(10, 10, prior=0.0)["log_loss"] is None
    assert prior_rates(0, 10, prior=0.0)["log_loss"] == 0
    with pytest.raises(ValueError, match="prior is 30; expected the share of positives"):
        prior_rates(1, 1, prior=30)
