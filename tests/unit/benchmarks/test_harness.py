"""Results of a benchmark: peers take turns, warm-ups do not count, the page holds what a reader must know."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from benchmarks import __main__ as suites
from benchmarks import harness


def test_peers_take_turns_and_warm_ups_do_not_count() -> None:
    calls: list[str] = []
    seconds = harness.race({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2, warmups=1)
    assert calls == ["a", "b"] * 3
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_a_result_is_written_as_json_and_as_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    rows = [{"peer": "ours", "records_per_s": 4.5}, {"peer": "theirs", "records_per_s": 1.0, "note": "plain"}]
    harness.publish("some_suite", "Some suite", rows, notes=["equal work"], loss=0.5)
    record = json.loads((tmp_path / "some_suite.json").read_text())
    assert record["rows"] == rows and record["loss"] == 0.5 and record["packages"]["numpy"]
    page = (tmp_path / "some_suite.md").read_text()
    assert "| ours | 4.500 |  |" in page and "- equal work" in page
    assert "python -m benchmarks.some_suite" in page and record["machine"]["cpu"] in page


def test_every_suite_has_its_module() -> None:
    for of_kind in suites.SUITES.values():
        for suite in of_kind:
            assert importlib.util.find_spec(f"benchmarks.{suite}")
