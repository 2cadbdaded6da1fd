"""Memory and time of a sweep's trainings: what cells share is looked at once, what they differ in is not mixed up."""

from __future__ import annotations

import json
from dataclasses import replace

from jobs import estimate
from jobs.estimate import estimates
from jobs.proposal import propose
from sftlib.config.load import load_experiment

LLAMA = {
    "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128,
    "num_attention_heads": 4, "vocab_size": 1000,
}  # fmt: skip


def test_a_sweep_is_estimated_as_its_cells_alone_are(experiment_file, tmp_path, monkeypatch) -> None:
    for name, layers in (("small", 2), ("large", 8)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({**LLAMA, "num_hidden_layers": layers}))
    grid = {
        "model.name_or_path": [str(tmp_path / "small"), str(tmp_path / "large")], "train.max_length": [8, 512],
        "prompt.system": ["", "a long system prompt " * 9], "model.quantization.kind": ["none", "nf4"],
        "train.learning_rate": [1e-4, 2e-4],
    }  # fmt: skip
    path = experiment_file(sweep={"grid": grid}, model={"name_or_path": str(tmp_path / "small")})
    proposal = propose(load_experiment(path, ["cluster.device=a100-80"], "local"), tmp_path / "runs")
    looks = []
    read = estimate.estimate_lengths
    monkeypatch.setattr(estimate, "estimate_lengths", lambda *given: looks.append(1) or read(*given))
    together = estimates(proposal, tmp_path / "runs")
    assert len(looks) == 4  # two limits, two prompts; not once for each of 32 cells
    cells = proposal.experiment.trained_cells
    alone = []
    for cell in cells:
        experiment = replace(proposal.experiment)
        experiment.__dict__["cells"] = [cell]
        alone += estimates(replace(proposal, experiment=experiment), tmp_path / "runs")
    assert [one.to_json() for one in together] == [one.to_json() for one in alone]
    assert len({json.dumps(one.to_json()) for one in together}) == 12  # rows of 8 tokens are full with either prompt
