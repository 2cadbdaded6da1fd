"""What hangs in a benchmark: it is ended with all that it started, and says which rank stood where."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.hanging import SPEAKING, wait_for
from sftlib.artifacts.processes import Process

LAUNCHER = """
import os, subprocess, sys
ranks = [subprocess.Popen([sys.executable, sys.argv[1]], env={**os.environ, "RANK": str(rank)}) for rank in (0, 1, 2)]
os.write(1, b"%d %d %d\\n" % tuple(rank.pid for rank in ranks))  # whole: unbuffered, a print is several writes
sys.exit(max(rank.wait() for rank in ranks))
"""
RANK = """
import os, subprocess, time
def wait_for_a_message_that_nobody_sends():
    os.write(1, b"waiting\\n")
    time.sleep(600)
def wait_for_a_helper():
    helper = subprocess.Popen(["sleep", "600"])
    os.write(1, b"helper %d\\n" % helper.pid)
    helper.wait()
{"0": lambda: None, "1": wait_for_a_message_that_nobody_sends, "2": wait_for_a_helper}[os.environ["RANK"]]()
"""


def start(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return subprocess.Popen([sys.executable, *command], stdout=log, stderr=log, env={**os.environ, **SPEAKING})


def lines(path: Path, count: int) -> list[str]:
    """Of a log that is being written: those that have their end."""
    while (found := path.read_text()).count("\n") < count:
        time.sleep(0.02)
    return found.splitlines()


def test_ranks_that_hang_are_named_and_ended_with_what_they_started(tmp_path: Path) -> None:
    (tmp_path / "launcher.py").write_text(LAUNCHER)
    (tmp_path / "rank.py").write_text(RANK)
    launcher = start(tmp_path, str(tmp_path / "launcher.py"), str(tmp_path / "rank.py"))
    bystander = subprocess.Popen(["sleep", "600"], env={**os.environ, "RANK": "1"})  # of somebody else
    try:
        said = " ".join(lines(tmp_path / "log", 3)).split()
        started = [Process.of(int(word)) for word in said if word.isdigit()]
        assert len(started) == 4
        with pytest.raises(TimeoutError) as error:
            wait_for([launcher], tmp_path / "log", 0.5)
        message = str(error.value)
        assert "still there after 0.5 s" in message and "rank 0" not in message
        first, second = message.partition("rank 1 hung: ")[2].split("rank 2 hung: ")
        assert "wait_for_a_message_that_nobody_sends" in first and "wait_for_a_helper" in second
        assert launcher.poll() is not None and not any(process.is_alive for process in started)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_process_without_ranks_is_named_too(tmp_path: Path) -> None:
    program = "def stuck():\n  print('there', flush=True)\n  while True: pass\nstuck()"
    process = start(tmp_path, "-c", program)
    lines(tmp_path / "log", 1)
    with pytest.raises(TimeoutError, match=r"(?s)rank 0 hung: .*in stuck"):
        wait_for([process], tmp_path / "log", 0.1)
    assert process.poll() is not None


def test_what_ends_in_time_gives_its_exit_codes(tmp_path: Path) -> None:
    running = [start(tmp_path, "-c", f"raise SystemExit({code})") for code in (0, 3)]
    assert wait_for(running, tmp_path / "log", 60) == [0, 3]
