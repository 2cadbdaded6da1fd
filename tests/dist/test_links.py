"""The look at the links between ranks, with two real ranks: sound ones pass, a silent one and a wrong sum leave the node."""

import os
import subprocess
import sys
from pathlib import Path

from sftlib.config.launch import AGENT
from sftlib.errors import UNHEALTHY_NODE

PROJECT = Path(__file__).parents[2]


def launch(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "TMPDIR": str(folder),
           "SFTLIB_NODES": "node[1-2]", "SFTLIB_ELEMENT": "train/main"}  # fmt: skip
    command = [sys.executable, "-m", AGENT, "--nproc-per-node", "2", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


def test_sound_links_pass_and_broken_ones_leave_the_node(tmp_path: Path) -> None:
    done = launch(tmp_path, "--standalone", str(Path(__file__).with_name("try_links.py")))
    assert done.returncode == UNHEALTHY_NODE, done.stderr
    assert done.stdout.splitlines().count("sound") == 2
    assert "the sum over 2 ranks on node[1-2] is wrong in 4096 of 4096 places: expected 3, found 9" in done.stdout
    assert "sft: the 2 ranks on node[1-2] could not add a number within 2 s: the network" in done.stderr
    assert list(tmp_path.iterdir()) == []  # torchrun's own folders are gone too


def test_nodes_that_do_not_find_each_other_are_left(tmp_path: Path) -> None:
    """The second node of two; nobody listens at the first."""
    where = ["--nnodes", "2", "--node-rank", "1", "--master-addr", "127.0.0.1", "--master-port", "9"]
    done = launch(tmp_path, *where, "--rdzv-conf", "timeout=2", "-m", "sftlib.train.links")
    assert done.returncode == UNHEALTHY_NODE, done.stderr
    assert "do not find each other" in done.stderr
