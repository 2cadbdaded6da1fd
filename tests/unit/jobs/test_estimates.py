"""Memory and time of a sweep's trainings: what cells share is looked at once, what they differ in is not mixed up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jobs import estimate
from jobs.estimate import Estimate, estimates
from jobs.proposal import Proposal, propose
from sftlib.config.estimate.lengths import Lengths
from sftlib.config.load import load_experiment
from sftlib.config.tree import SFTConfig
from sftlib.paths import RunPaths

LLAMA = {
    "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128,
    "num_attention_heads": 4, "vocab_size": 1000,
}  # fmt: skip


PROMPTS = ["", "a long system prompt " * 9]


def proposed(experiment_file, folder: Path, grid: dict[str, list]) -> Proposal:
    """The grid over a small model and a larger one."""
    for name, layers in (("small", 2), ("large", 8)):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps({**LLAMA, "num_hidden_layers": layers}))
    grid = {"model.name_or_path": [str(folder / "small"), str(folder / "large")], **grid}
    path = experiment_file(sweep={"grid": grid}, model={"name_or_path": str(folder / "small")})
    return propose(load_experiment(path, ["cluster.device=a100-80"], "local"), folder / "runs")


def alone(proposal: Proposal, runs_dir: Path) -> list[Estimate]:
    """Each cell of the sweep as if it were the only one."""
    found = []
    for cell in proposal.experiment.trained_cells:
        experiment = replace(proposal.experiment)
        experiment.__dict__["cells"] = [cell]
        found += estimates(replace(proposal, experiment=experiment), runs_dir)
    return found


def test_a_sweep_is_estimated_as_its_cells_alone_are(experiment_file, tmp_path, monkeypatch) -> None:
    grid = {
        "train.max_length": [8, 512], "prompt.system": PROMPTS, "model.quantization.kind": ["none", "nf4"],
        "train.learning_rate": [1e-4, 2e-4],
    }  # fmt: skip
    proposal = proposed(experiment_file, tmp_path, grid)
    looks = []
    read = estimate.estimate_lengths
    monkeypatch.setattr(estimate, "estimate_lengths", lambda *given: looks.append(1) or read(*given))
    together = estimates(proposal, tmp_path / "runs")
    assert all(one.seconds and one.seconds > 0 for one in together)  # also where the limit cuts what prompts share
    assert len(looks) == 4  # two limits, two prompts; not once for each of 32 cells
    assert [one.to_json() for one in together] == [one.to_json() for one in alone(proposal, tmp_path / "runs")]
    # Rows of 8 tokens are full with either prompt. Not of what is shown: models this small round to the same.
    assert len({(one.memory, one.tokens) for one in together}) == 12


def test_what_earlier_trainings_counted_is_looked_up_once_for_cells_alike(
    experiment_file, tmp_path, monkeypatch
) -> None:
    grid = {
        "train.max_length": [256, 512], "prompt.system": PROMPTS, "train.overlong": ["error", "drop"],
        "train.learning_rate": [1e-4, 2e-4],
    }  # fmt: skip
    proposal = proposed(experiment_file, tmp_path, grid)
    for tokens, cell in zip((4000, 9000), proposal.experiment.trained_cells[:8:4], strict=True):  # one of each prompt
        earlier = RunPaths(tmp_path / "runs" / f"earlier-{tokens}").cell("main")
        earlier.root.mkdir(parents=True)
        earlier.config.write_text(json.dumps(cell.config.to_dict()))
        earlier.summary.write_text(json.dumps({"tokens": tokens, "records": 40}))
    looks = []
    count = estimate.counted_tokens
    monkeypatch.setattr(estimate, "counted_tokens", lambda *given: looks.append(1) or count(*given))
    together = estimates(proposal, tmp_path / "runs")
    assert len(looks) == 16  # not once for each of 32 cells
    assert [one.to_json() for one in together] == [one.to_json() for one in alone(proposal, tmp_path / "runs")]
    assert [one.is_counted for one in together] == [True] * 16 + [False] * 16  # another tokenizer counts otherwise
    assert len({one.tokens for one in together}) == 4  # the tokenizer, and the prompt


@pytest.mark.parametrize(
    ("train", "passes"),
    [
        ({"gradient_accumulation": 4}, 400),
        ({"packing": True, "max_length": 1000}, 8000 * 80 / 1000 / 2),  # two full rows at once
        ({"tokens_per_batch": 4000, "max_length": 1000}, 8000 * 80 / 4000),
        ({"packing": True, "max_length": 1000, "max_steps": 100, "gradient_accumulation": 4}, 400),
    ],
)
def test_passes_are_those_of_full_rows_where_rows_are_filled(train: dict, passes: float) -> None:
    config = SFTConfig.model_validate({"train": {"batch_size": 2, **train}})
    assert estimate._passes(config, Lengths(80.0, 100, 2.0), 8000 * 80, 100) == passes


def test_a_step_behind_one_beginning_is_cut_as_the_trainer_cuts_it() -> None:
    config = SFTConfig.model_validate({"train": {"batch_size": 2, "gradient_accumulation": 4}})
    assert estimate._passes(config, Lengths(500.0, 520, 2.0, shared=440), 10**6, 100) == 100
    assert estimate._passes(config, Lengths(500.0, 520, 2.0, shared=300), 10**6, 100) == 200
    assert estimate._passes(config, Lengths(500.0, 520, 2.0, shared=20), 10**6, 100) == 400, "it gains too little"
