"""Whether a sample id stands for one sample only: batches come in, findings go out."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from sftlib.report.findings import DUPLICATE, Finding

MOST_IDS = 500_000  # row ranges prove coverage at any size; comparing this many ids takes 0.3 s


class SampleIds:
    """The ids of all shards, each shard once."""

    def __init__(self, rows: int) -> None:
        self.is_wanted = rows <= MOST_IDS
        self._parts: list[pa.Array] = []

    def add(self, batch: pa.RecordBatch) -> None:
        if self.is_wanted:
            self._parts.append(batch.column("sample_id"))

    def findings(self) -> list[Finding]:
        """The first few ids that stand at more than one row."""
        if not self._parts:
            return []
        ids = pa.chunked_array(self._parts)
        if pc.count_distinct(ids, mode="all").as_py() == len(ids):
            return []
        twice = [str(entry["values"]) for entry in pc.value_counts(ids).to_pylist() if entry["counts"] > 1]
        named = ", ".join(map(repr, twice[:3])) + (f" and {len(twice) - 3} more" if len(twice) > 3 else "")
        return [Finding(DUPLICATE, None, f"sample id {named}", "ids must be unique: choose another data.id_column")]
