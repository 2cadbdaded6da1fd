"""Open-ended answers of one cell: batches come in, match and length of each answer are kept, the M object goes out."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from sftlib.metrics.formulas import Array
from sftlib.metrics.intervals import normal_quantile, wilson
from sftlib.metrics.text import is_exact_match, is_normalised_match, length_statistics, rouge_l, words
from sftlib.report.arrow import numpy_of
from sftlib.report.vocabulary import NONE, Codes, Vocabularies

M = dict[str, Any]
FIELDS = ("exact", "normalised", "rouge", "words", "tokens", "empty", "unparsed")
EXACT, ROUGE, UNPARSED = (FIELDS.index(name) for name in ("exact", "rouge", "unparsed"))


class TextTally:
    """A few numbers for each answer: no text is kept. An answer that is missing is wrong, with a ROUGE-L of 0."""

    def __init__(self, vocabularies: Vocabularies) -> None:
        self.words = vocabularies
        self.prompt_tokens = self.new_tokens = self.rows = self.unparsed = 0
        self.reasons: Counter[str] = Counter()
        self._values: list[Array] = []
        self._rows: list[Array] = []
        self._members: dict[str, list[tuple[Array, Array]]] = {column: [] for column in vocabularies.all_columns}
        self._strata: list[Array] = []

    def add(self, codes: Codes, batch: pa.RecordBatch) -> None:
        """Add a batch; here rows are Python objects, since comparing texts costs far more than that."""
        golds, answers = batch.column("gold").to_pylist(), batch.column("prediction").to_pylist()
        reasons = [self.words.reasons.names[code] if code >= 0 else None for code in codes.reason]
        tokens = batch.column("new_tokens").to_pylist() if "new_tokens" in batch.schema.names else [None] * len(golds)
        lines = [_line(*entry) for entry in zip(golds, answers, tokens, strict=True)]
        self.reasons.update(reason for reason in reasons if reason not in (None, NONE))
        self._values.append(np.array(lines, float).reshape(-1, len(FIELDS)))
        self._rows.append(numpy_of(batch.column("row")))
        self._strata.append(np.stack([codes.source, codes.original]))
        for column, parts in self._members.items():
            parts.append((codes.groups[column].rows + self.rows, codes.groups[column].values))
        self.unparsed += batch.column("prediction").null_count
        self.prompt_tokens += codes.tokens[0]
        self.new_tokens += codes.tokens[1]
        self.rows += len(codes)

    def overall(self, confidence: float) -> M:
        return measure_texts(self._table(), confidence)

    def members(self, column: str) -> tuple[Array, Array]:
        """(position among all rows, code of the group) of every membership."""
        parts = self._members[column] or [(np.empty(0, int), np.empty(0, int))]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def by_group(self, column: str, confidence: float) -> dict[str, M]:
        rows, values = self.members(column)
        return self._by_code(self.words.groups[column].names, rows, values, confidence)

    def by_stratum(self, which: str, confidence: float) -> dict[str, M]:
        """`which` is source or original_label."""
        place, words = (0, self.words.sources) if which == "source" else (1, self.words.originals)
        strata = np.concatenate(self._strata or [np.empty((2, 0), int)], axis=1)
        return self._by_code(words.names, np.arange(strata.shape[1]), strata[place], confidence)

    def by_row(self) -> tuple[Array, Array]:
        """(row of the test set, FIELDS) of every answer, for paired comparison."""
        return np.concatenate(self._rows or [np.empty(0, int)]), self._table()

    def _by_code(self, names: list[str], rows: Array, values: Array, confidence: float) -> dict[str, M]:
        table = self._table()
        order = sorted(range(len(names)), key=lambda code: (names[code] == NONE, names[code]))
        return {names[code]: measure_texts(table[rows[values == code]], confidence) for code in order}

    def _table(self) -> Array:
        return np.concatenate(self._values or [np.empty((0, len(FIELDS)))])


def _line(gold: str | None, answer: str | None, tokens: int | None) -> tuple[float, ...]:
    references, text = [gold or ""], answer or ""
    score = rouge_l(text, references)
    return (
        answer is not None and is_exact_match(text, references),
        answer is not None and is_normalised_match(text, references),
        math.nan if score is None else score,
        len(words(text)),
        math.nan if tokens is None else tokens,
        not text.strip(),
        answer is None,
    )


def measure_texts(table: Array, confidence: float) -> M:
    """M of answers, a row of FIELDS each."""
    exact, normalised, rouge, num_words, tokens, empty, unparsed = table.T
    n = len(table)
    interval = wilson(int(exact.sum()), n, confidence)
    low, high = _mean_interval(rouge, confidence)
    return {
        "n": n,
        "exact_match": _mean(exact),
        "exact_match_low": interval.low,
        "exact_match_high": interval.high,
        "normalised_match": _mean(normalised),
        "rouge_l": _mean(rouge),
        "rouge_l_low": low,
        "rouge_l_high": high,
        "empty": int(empty.sum()),
        "unparsed": int(unparsed.sum()),
        "parse_rate": _mean(1 - unparsed),
        "length_words": length_statistics(list(num_words)),
        "length_tokens": length_statistics(list(tokens[~np.isnan(tokens)])),
    }


def _mean(values: Array) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def _mean_interval(values: Array, confidence: float) -> tuple[float | None, float | None]:
    """Normal interval of a mean, cut at 0 and 1."""
    known = values[~np.isnan(values)]
    if known.size < 2:
        return None, None
    reach = normal_quantile(confidence) * float(known.std(ddof=1)) / math.sqrt(known.size)
    return max(0.0, float(known.mean()) - reach), min(1.0, float(known.mean()) + reach)
