"""What the usual tools take for metrics by group: `pandas` (with scikit-learn) or `fairlearn`, and a folder of shards.

python -m benchmarks.merge_peers pandas|fairlearn FOLDER
An answer that could not be parsed counts as the other label. The figures are printed as JSON, {name: {metric: value}} with the
name `all` for all rows, so that benchmarks.merge can see that they are those of `sft merge`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> int:
    import pandas as pd

    peer, folder = sys.argv[1], Path(sys.argv[2])
    columns = ["gold", "prediction", "score", "group.group"]
    frame = pd.concat([pd.read_parquet(path, columns=columns) for path in sorted(folder.glob("*.parquet"))])
    label = (frame["gold"] == "hate").to_numpy(int)
    answer = (frame["prediction"] == "hate").to_numpy(int)
    lost = frame["prediction"].isna().to_numpy()
    answer[lost] = 1 - label[lost]
    group = frame["group.group"].to_numpy()
    is_fairlearn = peer == "fairlearn"
    found = (
        _fairlearn(label, answer, group) if is_fairlearn else _sklearn(label, answer, frame["score"].to_numpy(), group)
    )
    print(json.dumps(found, default=float))
    return 0


def _sklearn(label: Any, answer: Any, score: Any, group: Any) -> Any:
    import pandas as pd
    from sklearn import metrics as sk

    def figures(rows: Any) -> dict[str, Any]:
        y, a, p = label[rows], answer[rows], score[rows]
        scored = p == p
        return {
            "accuracy": sk.accuracy_score(y, a), "balanced_accuracy": sk.balanced_accuracy_score(y, a),
            "precision": sk.precision_score(y, a), "recall": sk.recall_score(y, a), "f1": sk.f1_score(y, a),
            "macro_f1": sk.f1_score(y, a, average="macro"), "mcc": sk.matthews_corrcoef(y, a),
            "confusion": sk.confusion_matrix(y, a).tolist(), "auroc": sk.roc_auc_score(y[scored], p[scored]),
        }  # fmt: skip

    found = {"all": figures(slice(None))}
    for name in pd.unique(group):
        found[name] = figures(group == name)
    return found


def _fairlearn(label: Any, answer: Any, group: Any) -> Any:
    import fairlearn.metrics as fl
    from sklearn import metrics as sk

    wanted = {
        "accuracy": sk.accuracy_score, "balanced_accuracy": sk.balanced_accuracy_score, "precision": sk.precision_score,
        "recall": sk.recall_score, "f1": sk.f1_score, "mcc": sk.matthews_corrcoef, "selection_rate": fl.selection_rate,
        "fpr": fl.false_positive_rate, "fnr": fl.false_negative_rate,
    }  # fmt: skip
    frame = fl.MetricFrame(metrics=wanted, y_true=label, y_pred=answer, sensitive_features=group)
    gaps = {"difference": frame.difference().to_dict(), "ratio": frame.ratio().to_dict()}
    return {"all": frame.overall.to_dict(), **frame.by_group.to_dict(orient="index"), **gaps}


if __name__ == "__main__":
    sys.exit(main())
