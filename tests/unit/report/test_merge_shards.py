"""Merging: what is whole is merged whatever its shards; what is not is named, left out, and never averaged over."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sftlib.artifacts.shards import shard_range
from sftlib.config.rundir import Run
from sftlib.errors import InputError
from sftlib.report.command import incomplete_message
from sftlib.report.merge import merge_run
from tests.unit.report.synthetic import (
    World,
    make_run,
    make_world,
    parts_of,
    plan_run,
    pretend_shard,
    pretend_training,
    shard_table,
    sums,
)  # fmt: skip

SIX = {"predictions.parquet", "metrics.csv", "bias.csv", "metrics.json", "report.txt", "report.html"}


def findings(metrics: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [finding for finding in metrics["coverage"]["findings"] if finding["kind"] == kind]


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def run(tmp_path: Path, world: World) -> Run:
    return make_run(tmp_path / "a b", world)


def sft(*arguments: str) -> int:
    from sftlib.__main__ import main

    return main(list(arguments))


def test_the_command_writes_six_files_and_exits_0(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert sft("merge", str(run.paths.root)) == 0
    assert {path.name for path in run.paths.report.root.iterdir()} == SIX
    assert "complete" in (said := capsys.readouterr().out) and "report.html" in said
    assert max(map(len, run.paths.report.text.read_text().splitlines())) <= 100
    assert sft("merge", str(run.paths.root), "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(run.paths.report.metrics_json.read_text())


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    assert sft("merge", str(tmp_path)) == InputError.exit_code == 2


def test_the_merged_table_has_every_cell_then_every_row(run: Run, world: World) -> None:
    merge_run(run)
    table = pq.read_table(run.paths.report.predictions, page_checksum_verification=True)
    assert table.column_names[:3] == ["cell", "sample_id", "row"] and table["cell"].type == pa.string()
    assert table["cell"].to_pylist() == [cell.id for cell in run.cells for _ in world.records]
    assert table["row"].to_pylist() == list(range(60)) * 3
    assert table["prediction"].to_pylist()[:60] == [answer for answer, _ in world.answers["r4"]]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shards=st.integers(1, 9), shuffle=st.randoms(use_true_random=False), seed=st.integers(0, 3))
def test_metrics_do_not_depend_on_shards_or_their_order(
    tmp_path_factory: pytest.TempPathFactory, shards: int, shuffle: Any, seed: int
) -> None:
    world = make_world(23, seed)
    order = list(range(shards))
    shuffle.shuffle(order)
    whole, cut = (
        merge_run(make_run(tmp_path_factory.mktemp("run"), world, count, order=where))
        for count, where in ((1, None), (shards, order))
    )
    assert whole["cells"] == cut["cells"] and whole["verdicts"] == cut["verdicts"]
    assert whole["comparisons"] == cut["comparisons"] and whole["complete"] and cut["complete"]


def test_a_second_merge_says_the_same(run: Run) -> None:
    merge_run(run)
    first = {path.name: path.read_bytes() for path in run.paths.report.root.iterdir()}
    merge_run(run)
    assert first == {path.name: path.read_bytes() for path in run.paths.report.root.iterdir()}


def lose(run: Run, world: World) -> None:
    run.paths.cell("r8").shard(1, 3).unlink()
    run.paths.cell("r8").shard_manifest(1, 3).unlink()


def flip_a_byte(run: Run, world: World) -> None:
    path = run.paths.cell("r8").shard(1, 3)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose_the_manifest(run: Run, world: World) -> None:
    run.paths.cell("r8").shard_manifest(1, 3).unlink()


def lose_the_file(run: Run, world: World) -> None:
    run.paths.cell("r8").shard(1, 3).unlink()


def tear_the_manifest(run: Run, world: World) -> None:
    path = run.paths.cell("r8").shard_manifest(1, 3)
    path.write_text(path.read_text()[:80])


def copy_a_neighbour(run: Run, world: World) -> None:
    paths = run.paths.cell("r8")
    shutil.copy(paths.shard(0, 3), paths.shard(1, 3))
    shutil.copy(paths.shard_manifest(0, 3), paths.shard_manifest(1, 3))


def commit_a_neighbours_rows(run: Run, world: World) -> None:
    pretend_shard(run, world, "r8", 1, table=shard_table(world, "r8", range(0, 20)))


def rewrite_a_neighbours_manifest(run: Run, world: World) -> None:
    copy_a_neighbour(run, world)
    path = run.paths.cell("r8").shard_manifest(1, 3)
    path.write_text(json.dumps({**json.loads(path.read_text()), "shard_index": 1}))


def shorten(run: Run, world: World) -> None:
    pretend_shard(run, world, "r8", 1, table=shard_table(world, "r8", range(20, 35)))


def take_another_adapter(run: Run, world: World) -> None:
    pretend_shard(run, world, "r8", 1, adapter="weights of another day")


def take_other_settings(run: Run, world: World) -> None:
    pretend_shard(run, world, "r8", 1, settings="other settings")


def take_another_cell(run: Run, world: World) -> None:
    for name in ("shard", "shard_manifest"):
        shutil.copy(getattr(run.paths.cell("r4"), name)(1, 3), getattr(run.paths.cell("r8"), name)(1, 3))


def rename_samples(run: Run, world: World) -> None:
    table = shard_table(world, "r8", shard_range(60, 1, 3))
    names = pa.array([f"other {name}" for name in table["sample_id"].to_pylist()])
    pretend_shard(run, world, "r8", 1, table=table.set_column(0, "sample_id", names))


def drop_a_column(run: Run, world: World) -> None:
    pretend_shard(run, world, "r8", 1, table=shard_table(world, "r8", shard_range(60, 1, 3)).drop_columns("prediction"))


@pytest.mark.parametrize(
    ("harm", "kind", "reason"),
    [
        (lose, "missing", ""),
        (lose_the_manifest, "missing", "without a manifest"),
        (lose_the_file, "corrupt", "manifest without its file"),
        (tear_the_manifest, "corrupt", "manifest is not readable"),
        (flip_a_byte, "corrupt", "sha256 differs"),
        (copy_a_neighbour, "duplicate", "manifest of r8, shard 0 of 3"),
        (commit_a_neighbours_rows, "duplicate", "its samples are those of shard 0"),
        (rewrite_a_neighbours_manifest, "duplicate", "rows 0 to 19, expected 20 to 39"),
        (shorten, "duplicate", "rows 20 to 34, expected 20 to 39"),
        (take_another_adapter, "foreign", "predicted with another adapter"),
        (take_other_settings, "foreign", "predicted with another settings than the other shards"),
        (take_another_cell, "foreign", "manifest of r4"),
        (rename_samples, "foreign", "its sample ids are not those of cell r4"),
        (drop_a_column, "corrupt", "column prediction is missing"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_shard_that_is_not_right_is_named_and_left_out(
    run: Run,
    world: World,
    harm: Callable[[Run, World], None],
    kind: str,
    reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    harm(run, world)
    assert sft("merge", str(run.paths.root)) == 3
    said = capsys.readouterr()
    assert "r8: shard 1 of 3" in said.err and f"sft rerun '{run.paths.root}'" in said.err and "INCOMPLETE" in said.out
    metrics = json.loads(run.paths.report.metrics_json.read_text())
    assert metrics["complete"] is False and [f["what"] for f in findings(metrics, kind)] == ["shard 1 of 3"]
    assert reason in findings(metrics, kind)[0]["reason"]
    held = metrics["coverage"]["cells"]
    assert (held["r8"]["rows"], held["r4"]["rows"], held["r8"]["valid_shards"]) == (40, 60, 2)
    assert metrics["cells"]["r8"]["overall"]["n"] == sums(metrics["cells"]["r8"]["overall"]) == 40
    assert {entry["n"] for entry in metrics["comparisons"] if "r8" in (entry["a"], entry["b"])} == {40}
    north = held["r8"]["groups"]["group"]["north"]
    assert north["known"] == 20 and north["rows"] == metrics["cells"]["r8"]["groups"]["group"]["north"]["n"] < 20
    assert "INCOMPLETE" in run.paths.report.html.read_text() and "INCOMPLETE" in run.paths.report.text.read_text()
    assert pq.read_metadata(run.paths.report.predictions).num_rows == 160


def test_what_was_mended_is_complete_again(run: Run, world: World) -> None:
    flip_a_byte(run, world)
    assert not merge_run(run)["complete"]
    pretend_shard(run, world, "r8", 1)
    assert merge_run(run)["complete"]


def test_strangers_in_the_folder_are_named_and_never_read(run: Run, world: World) -> None:
    folder = run.paths.cell("r4").predictions
    shutil.copy(folder / "part-00000-of-00003.parquet", folder / "part-00000-of-00002.parquet")
    metrics = merge_run(run)
    (finding,) = findings(metrics, "foreign")
    assert finding["what"] == "part-00000-of-00002.parquet" and finding["mend"].startswith("move ")
    assert metrics["complete"] is False and metrics["cells"]["r4"]["overall"]["n"] == 60


def test_what_a_killed_attempt_left_is_named_and_does_no_harm(run: Run) -> None:
    (run.paths.cell("r4").predictions / ".part-00000-of-00003.parquet.x.17.tmp").write_bytes(b"half")
    metrics = merge_run(run)
    assert metrics["complete"] and len(findings(metrics, "temporary")) == 1


@pytest.mark.parametrize("change", ["missing", "unfinished", "stale", "torn"])
def test_a_cell_that_was_never_trained_to_its_end_is_incomplete(run: Run, change: str) -> None:
    summary = run.paths.cell("r4").summary
    known = json.loads(summary.read_text())
    texts = {
        "unfinished": json.dumps({**known, "complete": False}),
        "stale": json.dumps({**known, "config_sha256": "another"}),
        "torn": '{"complete": tr',
    }
    summary.unlink() if change == "missing" else summary.write_text(texts[change])
    metrics = merge_run(run)
    assert metrics["complete"] is False and [f["cell"] for f in findings(metrics, "untrained")] == ["r4"]
    assert "r4: training is not finished" in incomplete_message(metrics)


def test_a_torn_adapter_record_is_a_finding_too(run: Run) -> None:
    run.paths.cell("r4").adapter_record.write_text("{")
    metrics = merge_run(run)
    assert [f["cell"] for f in findings(metrics, "untrained")] == ["r4"]
    assert metrics["cells"]["r4"]["overall"]["n"] == 60


def test_nothing_at_all_is_still_a_report(tmp_path: Path, world: World) -> None:
    run = plan_run(tmp_path, world, 3)
    metrics = merge_run(run)
    assert metrics["complete"] is False and len(findings(metrics, "missing")) == 9
    assert metrics["cells"]["r4"]["overall"]["n"] == 0 and metrics["cells"]["r4"]["overall"]["f1"] is None
    assert metrics["coverage"]["records_in_no_cell"] == 60 and metrics["run"]["fingerprint"] is None
    assert pq.read_table(run.paths.report.predictions).num_rows == 0
    assert f"sft rerun {run.paths.root}" in incomplete_message(metrics)
    assert {path.name for path in run.paths.report.root.iterdir()} == SIX


def test_records_that_no_cell_has_are_counted_as_unknown(run: Run, world: World) -> None:
    for cell in ("r4", "r8", "baseline"):
        run.paths.cell(cell).shard_manifest(2, 3).unlink()
    metrics = merge_run(run)
    assert metrics["coverage"]["records_in_no_cell"] == 20
    assert sum(held["known"] for held in metrics["coverage"]["cells"]["r4"]["groups"]["group"].values()) == 40


def test_ids_that_repeat_are_refused(tmp_path: Path) -> None:
    world = make_world(12)
    run = plan_run(tmp_path, world, 2)
    world.records[7].id = world.records[1].id
    for cell in run.cells:
        if not cell.is_baseline:
            pretend_training(run, cell.id)
        for index in range(2):
            pretend_shard(run, world, cell.id, index)
    metrics = merge_run(run)
    assert metrics["complete"] is False and "'s0001'" in findings(metrics, "duplicate")[0]["what"]


def test_a_baseline_that_was_asked_something_else_is_not_compared(run: Run, world: World) -> None:
    for index in range(3):
        pretend_shard(run, world, "baseline", index, prompt="another prompt")
    metrics = merge_run(run)
    assert metrics["complete"] is False and "another prompt than r4" in findings(metrics, "mismatch")[0]["reason"]
    assert {entry["kind"] for entry in metrics["comparisons"]} == {"cells"}


def test_cells_trained_on_samples_of_several_sizes_share_their_baseline(tmp_path: Path) -> None:
    """How much was trained on changes nothing of what the base model answers."""
    cells = [{"id": f"r{rank}", "lora.r": rank, "data.sample_size": 10 * rank} for rank in (4, 8)]
    metrics = merge_run(make_run(tmp_path, make_world(sweep={"grid": {}, "list": cells})))
    compared = [(entry["a"], entry["b"]) for entry in metrics["comparisons"] if entry["kind"] == "baseline"]
    assert compared == [("r4", "baseline"), ("r8", "baseline")]


def test_a_temporary_file_of_the_report_is_gone(run: Run) -> None:
    merge_run(run)
    assert not [path for path in run.paths.report.root.iterdir() if path.name.startswith(".")]


def test_parts_are_those_of_the_stage(run: Run) -> None:
    assert set(parts_of(run, "r4")) == {"adapter", "base", "prompt", "tokenizer", "test", "settings"}


def test_a_picture_that_the_training_drew_is_kept_and_a_missing_one_is_drawn(run: Run) -> None:
    kept, missing = (run.paths.cell(name).convergence for name in ("r4", "r8"))
    kept.write_bytes(b"drawn when the training ended")
    missing.unlink()
    merge_run(run)
    assert kept.read_bytes() == b"drawn when the training ended"
    assert missing.read_bytes().startswith(b"\x89PNG")
