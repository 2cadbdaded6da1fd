"""What a batch asks the model to predict."""

from __future__ import annotations

from sftlib.data.collation import SupervisedCollator


def test_a_first_token_is_never_predicted_from_padding() -> None:
    """With every token supervised, a padded record would else have one target more than one that fills its row."""
    rows = [{"input_ids": [5, 6, 7, 8], "labels": [5, 6, 7, 8]}, {"input_ids": [9, 10], "labels": [9, 10]}]
    assert SupervisedCollator(0, 8)(rows)["targets"].tolist() == [6, 7, 8, 10]
