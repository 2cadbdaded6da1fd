"""How far single words get on the bundled data: a unigram model's figures and the best single keyword's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
POSITIVE = "hate"


def load(name: str) -> tuple[list[str], list[int]]:
    """Texts and labels (1 = hate) of one file of the data set."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in (FOLDER / name).read_text().splitlines()]
    return [row["text"] for row in rows], [int(row["label_binary"] == POSITIVE) for row in rows]


def measure() -> dict[str, Any]:
    """Accuracy and F1 of a unigram model fitted on train, and of the best rule "this word means hate" (or normal), on test."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

    (train_texts, train_labels), (test_texts, test_labels) = load("train.jsonl"), load("test.jsonl")
    vectorizer = CountVectorizer()
    train_words = vectorizer.fit_transform(train_texts)
    model = LogisticRegression(max_iter=1000).fit(train_words, train_labels)
    guesses = model.predict(vectorizer.transform(test_texts))
    return {
        "accuracy": float(accuracy_score(test_labels, guesses)),
        "balanced_accuracy": float(balanced_accuracy_score(test_labels, guesses)),
        "f1": float(f1_score(test_labels, guesses)),
        "always_hate_f1": float(f1_score(test_labels, [1] * len(test_labels))),
        **best_keyword(test_texts, test_labels),
    }


def best_keyword(texts: list[str], labels: list[int]) -> dict[str, Any]:
    """The best single word chosen on the very texts it is scored on, which flatters it: presence, or absence, means hate."""
    import numpy as np
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(binary=True)
    has_word = np.asarray(vectorizer.fit_transform(texts).todense(), dtype=bool)
    guesses = np.concatenate([has_word, ~has_word], axis=1)
    words = [*vectorizer.get_feature_names_out(), *(f"no {w}" for w in vectorizer.get_feature_names_out())]
    is_hate = np.asarray(labels, dtype=bool)
    hits = (guesses & is_hate[:, None]).sum(axis=0)
    f1 = 2 * hits / (guesses.sum(axis=0) + is_hate.sum())
    balanced = (hits / is_hate.sum() + (~guesses & ~is_hate[:, None]).sum(axis=0) / (~is_hate).sum()) / 2
    return {
        "keyword_f1": float(f1.max()),
        "keyword_by_f1": str(words[int(f1.argmax())]),
        "keyword_balanced_accuracy": float(balanced.max()),
        "keyword_by_balanced_accuracy": str(words[int(balanced.argmax())]),
    }


if __name__ == "__main__":
    for name, figure in measure().items():
        print(f"{name:32} {figure:.3f}" if isinstance(figure, float) else f"{name:32} {figure}")
