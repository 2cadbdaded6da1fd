"""`sft convergence` on each kind of log that it reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sftlib.__main__ import main
from sftlib.convergence.reading import metrics_curves, read_curves

STEPS = [float(step) for step in range(10, 510, 10)]


def logged() -> list[dict]:
    rng = np.random.default_rng(0)
    return [
        {
            "step": step, "loss": 0.8 + 1.7 * float(np.exp(-step / 25)) + float(rng.normal(0, 0.02)), "grad_norm": 1.0,
            "learning_rate": 1e-3 * (1 - step / 500), **({"eval_loss": 0.9} if step % 100 == 0 else {}),
        }
        for step in STEPS
    ]  # fmt: skip


def write_log(kind: str, folder: Path) -> Path:
    if kind == "metrics.jsonl":
        path = folder / kind
        path.write_text("".join(json.dumps(entry) + "\n" for entry in logged()) + '{"step": 520, "lo')
        return path
    if kind == "trainer_state.json":
        path = folder / kind
        history = [{key: value for key, value in entry.items() if key != "eval_loss"} for entry in logged()]
        history += [{"step": entry["step"], "eval_loss": 0.9, "epoch": 1} for entry in logged() if "eval_loss" in entry]
        path.write_text(json.dumps({"log_history": history, "global_step": 500}))
        return path
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder / "events")) as writer:
        for entry in logged():
            for name, value in entry.items():
                if name != "step":
                    tag = "eval/loss" if name == "eval_loss" else f"train/{name}"
                    writer.add_scalar(tag, value, int(entry["step"]))
    return folder / "events"


@pytest.mark.parametrize("kind", ["metrics.jsonl", "trainer_state.json", "tensorboard"])
def test_every_log_tells_the_same(kind: str, tmp_path: Path, capsys) -> None:
    path = write_log(kind, tmp_path)
    curves = read_curves(path)
    assert {name: len(points) for name, points in curves.items()} == {
        "loss": 50,
        "grad_norm": 50,
        "learning_rate": 50,
        "eval_loss": 5,
    }
    assert [step for step, _ in curves["loss"]] == STEPS
    assert curves["loss"][7][1] == pytest.approx(logged()[7]["loss"], rel=1e-6)
    picture = tmp_path / "curves.png"
    assert main(["convergence", str(path), "--json", "--plot", str(picture)]) == 0
    told = json.loads(capsys.readouterr().out)[path.name]
    assert told["verdict"] == "converged" and told["figures"]["first"] > told["figures"]["last"]
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 10_000


def test_a_picture_of_a_loss_that_is_no_number(tmp_path: Path, capsys) -> None:
    entries = [{**entry, "loss": float("nan")} if entry["step"] > 300 else entry for entry in logged()]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert main(["convergence", str(path), "--plot", str(tmp_path / "x.png")]) == 0
    assert "diverged since step 310" in capsys.readouterr().out and (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("trainer_state.json", "{", "not readable as JSON"), ("other.json", "{}", "no log_history"),
     ("metrics.jsonl", "", "holds none of the curves"), ("none.jsonl", None, "does not exist")],
)  # fmt: skip
def test_what_is_no_log_is_named(name: str, content: str | None, words: str, tmp_path: Path, capsys) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    assert main(["convergence", str(path)]) == 2
    error = capsys.readouterr().err
    assert words in error and str(path) in error


def test_a_folder_without_events_is_named(tmp_path: Path, capsys) -> None:
    assert main(["convergence", str(tmp_path)]) == 2
    assert "no TensorBoard events" in capsys.readouterr().err


def test_a_log_that_is_not_there_has_no_curves(tmp_path: Path) -> None:
    assert metrics_curves(tmp_path / "metrics.jsonl") == {}
