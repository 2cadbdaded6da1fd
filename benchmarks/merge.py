"""`sft merge` and `sft evaluate` on ten million predictions, against pandas with scikit-learn and against fairlearn.

python -m benchmarks.merge [--write] [--rows 10000000] [--stage ours pandas fairlearn large scaling] [--folder DIR]
All read the same 100 shards (12 columns, zstd; row order, ten groups, scores, two sources, three original labels). Ours
makes all of the report: checks, hashes, intervals, tests, page. The peers make accuracy, balanced accuracy, precision,
recall, F1, macro-F1, MCC, confusion and AUROC overall and by group (fairlearn: those without AUROC, and selection rate,
FPR and FNR), and nothing else; what they say must be what ours says, or the benchmark ends. The large merge has 10^8 rows: ten cells whose shards are hard links to the same files.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import publish
from benchmarks.merge_agreement import compare_figures
from benchmarks.merge_data import make_run
from sftlib.config.rundir import Run, open_run

SHARDS, GROUPS, LARGE_CELLS = 100, 10, 10
REPEATS = 3  # of ours; of the peers one, which take minutes
MIB = 1024
LIMITS = {"sft merge": (4, 400), "sft evaluate": (8, 600), "sft merge, 10 cells": (25, 500)}  # seconds, MB
Row = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the figures in benchmarks/results")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--stage", nargs="+", choices=STAGES, default=list(USUAL))
    parser.add_argument("--folder", type=Path, help="keep data and figures here, so that stages can be run one by one")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="sftlib-merge-"))
    try:
        kept = folder / "rows.json"
        found: dict[str, list[Row]] = json.loads(kept.read_text()) if kept.exists() else {}
        for stage in arguments.stage:
            found[stage] = STAGES[stage](folder, arguments.rows)
            kept.write_text(json.dumps(found))
        rows = [row for stage in STAGES for row in found.get(stage, [])]
        publish("merge", "Merging and judging predictions", rows, notes=_notes(rows), write=arguments.write)
    finally:
        if not arguments.folder:
            shutil.rmtree(folder)
    return 0


def ours(folder: Path, rows: int) -> list[Row]:
    run = _run(folder, f"rows-{rows}", rows, GROUPS, 1)
    shards = sorted(map(str, run.paths.cell("c0").predictions.glob("*.parquet")))
    columns = [
        "--label",
        "gold",
        "--prediction",
        "prediction",
        "--id",
        "sample_id",
        "--group",
        "group.group",
        "--score",
        "score",
        "--source",
        "source",
        "--original-label",
        "original_label",
        "--positive",
        "hate",
        "--out",
    ]
    return [
        _measured("sft merge", rows, GROUPS, ["merge", str(run.paths.root)]),
        _measured("sft evaluate", rows, GROUPS, ["evaluate", *shards, *columns, str(folder / "evaluated")]),
    ]


def pandas(folder: Path, rows: int) -> list[Row]:
    return [_peer(folder, "pandas + scikit-learn", rows)]


def fairlearn(folder: Path, rows: int) -> list[Row]:
    return [_peer(folder, "fairlearn MetricFrame", rows)]


def fairlearn_tenth(folder: Path, rows: int) -> list[Row]:
    """A tenth of the rows, for machines that have no ten minutes to spare; the table says so."""
    return [_peer(folder, "fairlearn MetricFrame", rows // 10)]


def _peer(folder: Path, name: str, rows: int) -> Row:
    run = _run(folder, f"rows-{rows}", rows, GROUPS, 1)
    shards = str(run.paths.cell("c0").predictions)
    command = [sys.executable, "-m", "benchmarks.merge_peers", name.split()[0], shards]
    said = folder / "said.json"
    row = _measured(name, rows, GROUPS, command, repeats=1, output=said)
    if not run.paths.report.metrics_json.exists():
        _once([sys.executable, "-m", "sftlib", "merge", str(run.paths.root)])
    ours = json.loads(run.paths.report.metrics_json.read_text())["cells"]["c0"]
    return {**row, "agreement": compare_figures(json.loads(said.read_text()), ours)}


def large(folder: Path, rows: int) -> list[Row]:
    """Ten cells, whose shards are those of the one cell."""
    run = _run(folder, "ten", rows, GROUPS, LARGE_CELLS)
    return [
        _measured(
            f"sft merge, {LARGE_CELLS} cells", rows * LARGE_CELLS, GROUPS, ["merge", str(run.paths.root)], repeats=2
        )
    ]


def scaling(folder: Path, rows: int) -> list[Row]:
    """Fewer rows; then more groups at the same number of rows."""
    found = []
    for part, groups in ((10, GROUPS), (3, GROUPS), (1, 2), (1, 100)):
        run = _run(folder, f"{part}-{groups}", rows // part, groups, 1)
        found.append(_measured("sft merge", rows // part, groups, ["merge", str(run.paths.root)]))
        shutil.rmtree(folder / f"{part}-{groups}")
    return found


STAGES: dict[str, Callable[[Path, int], list[Row]]] = {
    "ours": ours, "pandas": pandas, "fairlearn": fairlearn, "fairlearn_tenth": fairlearn_tenth, "large": large,
    "scaling": scaling,
}  # fmt: skip
USUAL = ("ours", "pandas", "fairlearn", "large", "scaling")


def _run(folder: Path, name: str, rows: int, groups: int, cells: int) -> Run:
    """The run directory of that name, made when it is not there yet."""
    if not (folder / name / "runs").exists():
        make_run(folder / name, rows, SHARDS, groups, cells)
    return open_run(folder / name / "runs" / "latest")


def _measured(
    name: str, rows: int, groups: int, words: Sequence[str], repeats: int = REPEATS, output: Path | None = None
) -> Row:
    """The whole command from start to exit: least seconds of the repeats, the processor's seconds, peak memory."""
    command = list(words) if words[0] == sys.executable else [sys.executable, "-m", "sftlib", *words]
    found = [_once(command, output) for _ in range(repeats)]
    seconds, cpu, peak = min(found)
    limit = LIMITS.get(name, (None, None)) if rows >= 10_000_000 and groups == GROUPS else (None, None)
    return {
        "what": name, "rows": f"{rows:,}", "groups": groups, "seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2),
        "peak_mb": round(peak), "limit_s": limit[0], "limit_mb": limit[1], "all_seconds": [round(one[0], 2) for one in found],
    }  # fmt: skip


def _once(command: Sequence[str], output: Path | None = None) -> tuple[float, float, float]:
    started = time.perf_counter()
    with Path(output or os.devnull).open("wb") as said:
        process = subprocess.Popen(command, stdout=said)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{' '.join(command[:4])} ended with {status}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / MIB


def _notes(rows: Sequence[Row]) -> list[str]:
    least = {row["what"]: row for row in rows if row["groups"] == GROUPS and not row["what"].startswith("sft evaluate")}
    ours = [row for row in rows if row["what"] == "sft merge"]
    notes = ["seconds: least of the repeats in all_seconds; where the machine was shared, cpu_seconds says more"]
    for name, row in least.items():
        merge = ours[0] if ours else None
        if merge is None or name.startswith("sft"):
            continue
        share = _count(merge) / _count(row)  # 1, or 10 where the peer got a tenth of the rows
        scaled = f", its time taken {share:.0f} times for the {share:.0f} times as many rows" if share != 1 else ""
        clock, cpu = (share * row[key] / merge[key] for key in ("seconds", "cpu_seconds"))
        notes.append(
            f"sft merge is faster than {name} {clock:.0f} times by the clock, {cpu:.0f} times by the processor{scaled}; "
            + row["agreement"]
        )
    return notes + _growth(ours)


def _growth(merges: Sequence[Row]) -> list[str]:
    """By rows at the same groups, and by groups at the same rows."""
    by_rows = sorted({_count(row): row["seconds"] for row in merges if row["groups"] == GROUPS}.items())
    most = max((rows for rows, _ in by_rows), default=0)
    by_groups = sorted({row["groups"]: row["seconds"] for row in merges if _count(row) == most}.items())
    found = []
    if len(by_rows) > 1:
        found.append("by rows: " + ", ".join(f"{rows:,} in {seconds:.2f} s" for rows, seconds in by_rows))
    if len(by_groups) > 1:
        found.append("by groups: " + ", ".join(f"{groups} in {seconds:.2f} s" for groups, seconds in by_groups))
    return found


def _count(row: Row) -> int:
    return int(row["rows"].replace(",", ""))


if __name__ == "__main__":
    sys.exit(main())
