"""The local scheduler with real submitit jobs and stand-in stages: order, slots, failures, kills, takeovers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.attempts import all_attempts
from jobs.driver import sole_driver
from sftlib.artifacts.processes import Process
from sftlib.config.rundir import Run
from sftlib.errors import SftError

DRIVER = Path(__file__).with_name("fake_driver.py")
Events = Callable[[Run], list[dict[str, Any]]]


@pytest.fixture
def start_driver(
    child_environment: dict[str, str], tmp_path: Path, ended_processes: list[Process]
) -> Callable[..., Any]:
    """Starts a driver in a folder of its own; what it prints goes to `driver.out`."""

    def start(run: Run, grace_s: float = 10) -> subprocess.Popen[str]:
        output = (tmp_path / "driver.out").open("a")
        process = subprocess.Popen(
            [sys.executable, str(DRIVER), str(run.paths.root), str(grace_s)],
            env=child_environment, cwd=tmp_path, stdout=output, stderr=output, text=True,
            start_new_session=True,  # a process group of its own, as a shell gives it
            # Tests that a script starts in the background inherit an ignored Ctrl-C; a terminal's driver does not.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        ended_processes.append(Process.of(process.pid))
        return process

    return start


def drive(start_driver: Callable[..., Any], run: Run) -> int:
    return start_driver(run).wait(120)


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def started(events: Events, run: Run, element: str) -> list[dict[str, Any]]:
    return [event for event in events(run) if event["event"] == "start" and event["element"] == element]


def interval(events: list[dict[str, Any]], element: str) -> tuple[float, float]:
    own = [event for event in events if event["element"] == element]
    return own[0]["time"], own[-1]["time"]


@pytest.fixture
def decoys(tmp_path: Path) -> None:
    """Packages of our names in the folder where the driver is started: not what elements may import."""
    for name in ("sftlib", "jobs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('this is not the frozen code')")


def test_order_slots_report_and_reuse(make_run, behave, events, start_driver, tmp_path, decoys) -> None:
    run = make_run(predict={"num_shards": 2, "shards_per_job": 1, "baseline": False})
    behave(run, {"train/r4": {"sleep": 0.5}})
    assert drive(start_driver, run) == 0
    seen = events(run)
    order = [event["element"] for event in seen if event["event"] == "start"]
    assert len(order) == 7, "two trainings, two cells with two ranges each, one merge"
    assert set(order[:2]) == {"train/r4", "train/r8"}, "the longest stage takes the slots first"
    assert order[-1] == "merge"
    for cell in ("r4", "r8"):
        trained = interval(seen, f"train/{cell}")[1]
        assert all(interval(seen, f"predict/{cell}/{part}")[0] > trained for part in ("0-0", "1-1"))
    running = 0
    for event in seen:
        running += 1 if event["event"] == "start" else -1
        assert running <= 2, "more elements at once than slots"
    printed = (tmp_path / "driver.out").read_text()
    assert "F1 [interval]" in printed and ".500 [.400-.600]" in printed and "report.html" in printed
    check_frozen(run, seen)
    assert drive(start_driver, run) == 0
    assert len(events(run)) == len(seen), "nothing was missing, nothing may run again"
    assert not run.paths.driver.exists()


def check_frozen(run: Run, seen: list[dict[str, Any]]) -> None:
    attempt = all_attempts(run.paths)[-1]
    code = run.paths.jobs / json.loads(attempt.spec.read_text())["code"]
    assert {event["code"] for event in seen} == {str(code / "sftlib" / "__init__.py")}
    assert attempt.log("train/r4").read_text().startswith("# "), "the log begins with the command"


def test_a_failed_training_skips_its_predictions_only(make_run, behave, events, start_driver, tmp_path) -> None:
    run = make_run(predict={"num_shards": 2, "shards_per_job": 2})
    behave(run, {"train/r4": {"exit": 65}})
    assert drive(start_driver, run) == 3, "the merge ran and says what is missing"
    names = {event["element"] for event in events(run)}
    assert names == {"train/r4", "train/r8", "predict/r8/0-1", "predict/baseline/0-1", "merge"}
    printed = (tmp_path / "driver.out").read_text()
    assert "the data is wrong; another try gives the same" in printed and "told to fail" in printed
    assert "INCOMPLETE" in printed and f"sft rerun {run.paths.root}" in printed
    behave(run, {})
    assert drive(start_driver, run) == 0
    again = [event["element"] for event in events(run)[-6:] if event["event"] == "start"]
    assert again == ["train/r4", "predict/r4/0-1", "merge"]


def test_exit_75_goes_on_by_itself(make_run, behave, events, start_driver) -> None:
    run = make_run(sweep={}, predict={"num_shards": 1, "baseline": False})
    behave(run, {"train/main": {"restarts": 2}})
    assert drive(start_driver, run) == 0
    assert len(started(events, run, "train/main")) == 3
    ending = all_attempts(run.paths)[-1].read_ending("train/main")
    assert ending is not None and (ending["restarts"], ending["exit_code"]) == (2, 0)


def test_a_killed_driver_stops_its_elements_and_is_taken_over(make_run, behave, events, start_driver, tmp_path) -> None:
    run = make_run(predict={"num_shards": 1, "baseline": False})
    behave(run, {"train/r4": {"sleep": 60}, "train/r8": {"sleep": 60, "deaf": True}})
    driver = start_driver(run, grace_s=2)
    wait_until(lambda: started(events, run, "train/r4") and started(events, run, "train/r8"))
    with pytest.raises(SftError, match=f"already driven by process {driver.pid}"), sole_driver(run.paths, print):
        pass
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    behave(run, {})
    first = events(run)
    assert drive(start_driver, run) == 0
    assert f"taking over from process {driver.pid}" in (tmp_path / "driver.out").read_text()
    second = [event for event in events(run) if event["event"] == "start"][2:]
    stopped = all_attempts(run.paths)[0].living()
    assert not stopped, "elements of the dead driver are gone"
    assert second[0]["time"] > max(event["time"] for event in first)
    endings = {ending["element"]: ending for ending in all_attempts(run.paths)[0].endings()}
    assert endings["train/r4"]["stopped"] == "driver gone" and endings["train/r4"]["exit_code"] == 75
    assert endings["train/r8"]["exit_code"] == -signal.SIGKILL, "deaf to TERM and stop file: killed after the grace"
    ended = [event["time"] for event in events(run) if event["element"] == "train/r4" and event["event"] == "exit 75"]
    assert second[0]["time"] > ended[0], "nothing starts beside an element that still writes"


def test_a_killed_supervisor_leaves_no_orphan(make_run, behave, events, start_driver) -> None:
    run = make_run(sweep={}, predict={"num_shards": 1, "baseline": False})
    behave(run, {"train/main": {"sleep": 60, "deaf": True}})
    driver = start_driver(run)
    wait_until(lambda: started(events, run, "train/main"))
    stage = started(events, run, "train/main")[0]
    child, supervisor = Process.of(stage["pid"]), Process.of(stage["parent"])
    os.kill(supervisor.pid, signal.SIGKILL)
    wait_until(lambda: not child.is_alive, 10)
    assert driver.wait(60) == 3, "the training failed, the merge said so"


def test_ctrl_c_stops_gently(make_run, behave, events, start_driver, tmp_path) -> None:
    run = make_run(sweep={}, predict={"num_shards": 1, "baseline": False})
    behave(run, {"train/main": {"sleep": 60}})
    driver = start_driver(run)
    wait_until(lambda: started(events, run, "train/main"))
    os.killpg(driver.pid, signal.SIGINT)  # a terminal signals everybody in the foreground
    assert driver.wait(60) == 128 + signal.SIGINT
    assert events(run)[-1]["event"] == "exit 75", "it was asked, not killed"
    assert not all_attempts(run.paths)[-1].living() and not run.paths.driver.exists()
    assert "goes on from here" in (tmp_path / "driver.out").read_text()


def test_a_second_signal_does_not_wait(make_run, behave, events, start_driver) -> None:
    run = make_run(sweep={}, predict={"num_shards": 1, "baseline": False})
    behave(run, {"train/main": {"sleep": 60, "deaf": True}})
    driver = start_driver(run, grace_s=60)
    wait_until(lambda: started(events, run, "train/main"))
    driver.send_signal(signal.SIGTERM)
    time.sleep(0.6)
    assert driver.poll() is None
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(10) == 128 + signal.SIGTERM
    assert not all_attempts(run.paths)[-1].living()
