"""`sft status`, the live table and the final table, from files alone."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.attempts import new_attempt
from jobs.cli import main
from jobs.overlaps import Overlaps
from jobs.plan import shards_in
from jobs.results import result_table
from jobs.rows import Row, status_rows
from jobs.screen import LiveScreen, PlainScreen, live_table
from jobs.tables import duration, rate
from sftlib.artifacts.atomic import write_json
from sftlib.artifacts.processes import current_process
from sftlib.config.rundir import Run


@pytest.fixture
def says() -> Callable[..., None]:
    """Writes a progress file as a stage does."""

    def write(run: Run, element: str, **changes: Any) -> None:
        kind, *rest = element.split("/")
        me = current_process()
        value = {
            "element": element, "kind": kind, "cell": rest[0] if rest else None, "state": "running", "done": 5, "total": 20,
            "unit": "steps", "loss": 0.5, "tokens_per_s": 310.0, "eta_s": 75.0, "pid": me.pid, "host": me.host,
            "time": time.time(), "attempt": 1, **changes,
        }  # fmt: skip
        write_json(run.paths.element_progress(element), value)

    return write


def states(run: Run) -> dict[str, str]:
    return {row.element: row.state for row in status_rows(run)}


def test_states_without_a_scheduler(make_run, says) -> None:
    run = make_run(sweep={}, predict={"num_shards": 2, "baseline": False})
    assert states(run) == {
        "train/main": "missing",
        "predict/main/0-0": "missing",
        "predict/main/1-1": "missing",
        "merge": "missing",
    }
    write_json(run.paths.driver, current_process().to_json())
    assert states(run)["train/main"] == "waiting"
    says(run, "train/main")
    assert states(run)["train/main"] == "running"
    says(run, "train/main", time=time.time() - 100)
    assert states(run)["train/main"] == "running", "silent, but its process is there"
    says(run, "train/main", time=time.time() - 100, pid=2**22 + 1)
    assert states(run)["train/main"] == "lost"


def test_a_failure_is_told_with_its_reason(make_run, says) -> None:
    run = make_run(sweep={}, predict={"num_shards": 4, "shards_per_job": 2, "baseline": False})
    attempt = new_attempt(run.paths)
    ending = {
        "element": "predict/main/1-1",
        "attempt": 1,
        "exit_code": 65,
        "restarts": 0,
        "stopped": "",
        "seconds": 1.0,
    }
    write_json(attempt.ending("predict/main/1-1"), ending)
    says(run, "predict/main/1-1", unit="records")
    row = next(row for row in status_rows(run) if row.element == "predict/main/0-1")
    assert (row.state, row.attempt) == ("failed", 1) and "data" in row.note, (
        "a rerun's range speaks for the one it lies in"
    )


def test_the_job_that_fills_the_token_cache_has_its_row(make_run, says) -> None:
    run = make_run(sweep={}, predict={"num_shards": 1, "baseline": False})
    cluster = run.config.cluster.model_copy(update={"scheduler": "slurm"})
    run = replace(run, config=run.config.model_copy(update={"cluster": cluster}))
    assert states(run) == dict.fromkeys(("prepare", "train/main", "predict/main/0-0", "merge"), "missing")
    says(run, "prepare", unit="records")
    assert states(run)["prepare"] == "running"
    ending = {"element": "prepare", "attempt": 1, "exit_code": 0, "restarts": 0, "stopped": "", "seconds": 1.0}
    attempt = new_attempt(run.paths)
    write_json(attempt.ending("prepare"), ending)
    assert states(run)["prepare"] == "done"
    write_json(attempt.ending("prepare"), {**ending, "exit_code": 65})
    assert states(run)["prepare"] == "failed"


def test_status_command(make_run, says, capsys) -> None:
    run = make_run(sweep={}, predict={"num_shards": 1, "baseline": False})
    says(run, "train/main")
    assert main(["status", str(run.paths.root)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"train/main +running +5/20 steps +0\.500 +310 +1:15 +1 ", printed)
    assert "none: `sft rerun" in printed
    assert main(["status", str(run.paths.root), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["complete"] is False and value["rows"][0]["loss"] == 0.5


def rows_of(count: int, state: str = "running") -> list[Row]:
    return [
        Row(f"predict/cell/{i}-{i}", "predict", "cell", state, 1, "n", i, 100, "records", 0.5, 12.0, 60.0)
        for i in range(count)
    ]


def test_live_table_fits_the_terminal() -> None:
    rows = [*rows_of(30, "waiting"), *rows_of(3, "running"), *rows_of(40, "done")]
    lines = live_table(rows, 80, 20, is_coloured=False, has_blocks=True)
    assert len(lines) == 5 and all(len(line) <= 80 for line in lines)
    assert lines[-1].strip() == "30 waiting, 3 running, 40 done"
    assert "\x1b[36mrunning\x1b[0m" in live_table(rows_of(1), 80, 20, is_coloured=True, has_blocks=False)[1]


def test_screens() -> None:
    stream = io.StringIO()
    screen = PlainScreen(stream)
    screen.show(rows_of(1, "waiting"))
    assert stream.getvalue() == "", "waiting is where everything begins"
    screen.show(rows_of(1))
    screen.show(rows_of(1))
    assert stream.getvalue().count("\n") == 1 and "\x1b" not in stream.getvalue(), "a line for a change, none without"
    live = LiveScreen(stream := io.StringIO())
    live.show(rows_of(2), now=True)
    live.say("a line above")
    assert "\x1b[4F\x1b[J" in stream.getvalue(), "four lines are taken back before something is said"


def cell(f1: float | None, **overall: Any) -> dict[str, Any]:
    group = {"n": 50, "fpr": 0.123, "fnr": None}
    return {"overall": {"n": 100, "f1": f1, **overall}, "groups": {"target": {"lgbtq": group, "middle_east": group}}}


def test_result_table() -> None:
    cells = {"r8": cell(0.75, f1_low=0.7, f1_high=0.8), "baseline": cell(0.5, f1_low=0.4, f1_high=0.6)}
    wide = result_table(cells, {"r8": 75.0}, 100)
    assert re.fullmatch(r"  r8 +\.750 \[\.700-\.800\] +1:15 +\.123 +\.123", wide[1])
    assert "FNR" not in wide[0], "defined nowhere, so no column"
    narrow = result_table(cells, {"r8": 75.0}, 40)
    assert max(map(len, narrow)) <= 40 and any(line.strip().startswith("FPR") for line in narrow)


def test_of_several_classes_the_table_shows_what_leads_the_report() -> None:
    cells = {"a": {"overall": {"n": 9, "f1": 0.5, "macro_f1": 0.25, "macro_f1_low": 0.1, "macro_f1_high": 0.4}}}
    head, row = result_table(cells, {}, 80, num_labels=3)
    assert "macro F1 [interval]" in head and ".250 [.100-.400]" in row
    assert ".500" in result_table(cells, {}, 80)[1]


def test_result_table_without_f1() -> None:
    lines = result_table({"a": {"overall": {"n": 3, "f1": None, "exact_match": 1.0}}}, {}, 80)
    assert "exact match" in lines[0] and "1.000" in lines[1]
    assert result_table({"a": {"overall": {}}}, {}, 80)[1].strip().startswith("a")


def test_numbers() -> None:
    assert [rate(None), rate(0.0), rate(1.0), rate(0.1234)] == ["-", ".000", "1.000", ".123"]
    assert [duration(7), duration(725), duration(11050), duration(None)] == ["0:07", "12:05", "3:04:10", ""]


def test_whoever_shares_a_shard_speaks_for_the_element(make_run, says) -> None:
    """A rerun cuts ranges anew: what it says is about parts of two elements of the plan, and of no other cell."""
    run = make_run(
        sweep={"grid": {"lora.r": [4, 8]}}, predict={"num_shards": 6, "shards_per_job": 2, "baseline": False}
    )
    says(run, "predict/r4/1-2", time=time.time() - 5)
    says(run, "predict/r4/2-2", state="failed")
    rows = {row.element: row.state for row in status_rows(run)}
    assert rows["predict/r4/0-1"] == "running" and rows["predict/r4/2-3"] == "failed"  # the newest word counts
    assert rows["predict/r4/4-5"] == rows["predict/r8/0-1"] == "missing"


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 3)), max_size=12), st.integers(0, 9))
def test_overlaps_are_those_of_comparing_each_with_each(ranges: list[tuple[str, int, int]], start: int) -> None:
    names = [f"predict/{cell}/{first}-{first + more}" for cell, first, more in ranges] + ["train/a", "merge"]
    for wanted in (f"predict/a/{start}-{start + 2}", "train/a", "train/b", "merge"):
        expected = [name for name in names if name == wanted or shares_a_shard(name, wanted)]
        assert Overlaps((name, name) for name in names).of(wanted) == expected


def shares_a_shard(name: str, other: str) -> bool:
    is_same = name.startswith("predict/") and name.rpartition("/")[0] == other.rpartition("/")[0]
    return is_same and bool({*shards_in(name)} & {*shards_in(other)})
