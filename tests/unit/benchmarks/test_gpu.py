"""The GPU suite runs before a GPU is there: arguments, peers, records, and every peer that a CPU can be."""

from __future__ import annotations

import pytest

from benchmarks import gpu


def test_peers_that_cannot_run_say_why() -> None:
    missing = {name: peer.missing(has_gpu=False) for name, peer in gpu.PEERS.items()}
    assert missing["sftlib"] is None and missing["trl"] is None
    assert missing["trl-liger"] == missing["unsloth"] == "needs a GPU"
    if gpu.importlib.util.find_spec("unsloth") is None:
        assert gpu.PEERS["unsloth"].missing(has_gpu=True) == "unsloth not installed"


def test_records_of_both_workloads() -> None:
    packed = gpu.make_records(500, "packed", 50, 256)
    assert all(16 <= len(record["input_ids"]) <= 256 for record in packed)
    posts = gpu.make_records(500, "posts", 5, 1024)
    assert len({tuple(record["input_ids"][:400]) for record in posts}) == 1
    assert all(sum(label != -100 for label in record["labels"]) == 6 for record in posts)


@pytest.mark.parametrize("workload", ["packed", "posts"])
@pytest.mark.parametrize("method", ["lora", "nf4"])
def test_the_peers_of_a_cpu_train(workload: str, method: str) -> None:
    arguments = gpu.parse(["--tiny", "--workload", workload, "--method", method])
    found = {peer: gpu.measure(peer, arguments) for peer in ("sftlib", "trl")}
    for figures in found.values():
        assert figures["tokens_per_s"] > 0 and figures["last_loss"] == pytest.approx(6.24, abs=0.15)
        assert (figures["GPU_hours_of_the_posts"] is not None) == (workload == "posts")


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert gpu.main([]) == 2
    assert "--tiny" in capsys.readouterr().err
