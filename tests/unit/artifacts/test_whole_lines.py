"""Lines of several processes in one log stay lines."""

import os
import subprocess
import sys

SPEAKER = """
import sys
from sftlib.artifacts.processes import write_lines_whole
write_lines_whole()
for number in range(2000):
    print("said by", sys.argv[1], number, file=sys.stderr if number % 2 else sys.stdout)
"""
SPEAKERS = ("one", "another", "a third")


def test_unbuffered_processes_do_not_write_into_each_other_s_lines() -> None:
    reading, writing = os.pipe()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SPEAKER, name], stdout=writing, stderr=writing, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
        for name in SPEAKERS
    ]  # fmt: skip
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as log:
        lines = log.read().splitlines()
    assert all(process.wait() == 0 for process in started)
    assert sorted(lines) == sorted(f"said by {name} {number}" for name in SPEAKERS for number in range(2000))
