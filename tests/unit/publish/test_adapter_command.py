"""`sft adapter merge` and `push` on a trained run, against a local stand-in of the hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sftlib.__main__ import main
from sftlib.artifacts.adapters import read_merged_record
from sftlib.config.rundir import Run, open_target
from sftlib.errors import SftError
from sftlib.publish import agreement
from sftlib.publish.folding import merge_cell
from sftlib.train.trainer import SFTTrainer
from tests.conftest import PROJECT
from tests.hub import TOKEN, Hub, local_hub
from tests.posts import write_experiment


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("experiment")
    settings = ["lora.target_modules=all-linear", "train.epochs=3", "train.learning_rate=5e-3"]
    run = open_target(write_experiment(folder, tiny_model), settings, folder / "runs")
    SFTTrainer(run.cell_config("main"), output_dir=run.paths.cell("main").root).train()
    return run


@pytest.fixture
def hub():
    with local_hub() as found:
        yield found


def push(run: Run, hub: Hub, folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    hidden = ("HF_TOKEN", "HF_USERNAME", "HF_HUB_OFFLINE", "HF_HOME")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment |= {
        "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "hf"), "PYTHONPATH": str(PROJECT), **variables,
    }  # fmt: skip
    command = [sys.executable, "-m", "sftlib", "adapter", "push", str(run.paths.root), *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_a_merged_model_answers_as_base_and_adapter_do(trained: Run, capsys) -> None:
    assert main(["adapter", "merge", str(trained.paths.root), "--records", "18", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["agreement"], told["records"], told["changed"]) == (
        1.0,
        18,
        14,
    )  # seven matrices in each of two layers
    merged = trained.paths.cell("main").merged
    assert read_merged_record(merged).adapter_sha256 == trained.known_parts("main")["adapter"]
    assert trained.why_unmerged("main") == ""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert AutoModelForCausalLM.from_pretrained(str(merged)) is not None
    assert AutoTokenizer.from_pretrained(str(merged)).chat_template


def test_a_model_that_answers_otherwise_is_not_published(trained: Run, monkeypatch) -> None:
    """The adapter is scaled up on the way into the base: answers differ, and the folder that was there stays."""
    from sftlib.models import adapter_changes

    before = {path.name: path.stat().st_mtime for path in trained.paths.cell("main").merged.glob("*")}
    scaling = adapter_changes.scaling
    monkeypatch.setattr(adapter_changes, "scaling", lambda settings, module: -30 * scaling(settings, module))
    with pytest.raises(SftError, match="nothing was published"):
        merge_cell(trained, "main", base=None, records=18, least=0.95, in_memory=False, file_bytes=2**31)
    assert {path.name: path.stat().st_mtime for path in trained.paths.cell("main").merged.glob("*")} == before
    assert not list(trained.paths.cell("main").root.glob(".merged*"))


def test_from_python_the_trainer_folds_by_itself(tiny_model: Path, tmp_path: Path) -> None:
    run = open_target(write_experiment(tmp_path, tiny_model), ["train.save_merged_model=true"], tmp_path / "runs")
    result = SFTTrainer(run.cell_config("main"), output_dir=tmp_path / "out").train()
    assert (
        result["merged"] == str(tmp_path / "out" / "merged") and (tmp_path / "out" / "merged" / "config.json").exists()
    )


def test_every_answer_is_compared(trained: Run) -> None:
    """The share is that of equal answers: with another model's answers it falls."""
    assert agreement.Agreement(3, 4).share == 0.75 and agreement.Agreement(0, 0).share == 1.0


def test_the_baseline_and_the_untrained_are_refused(trained: Run, tmp_path: Path, tiny_model: Path, capsys) -> None:
    assert main(["adapter", "merge", str(trained.paths.root), "--cell", "baseline"]) == 2
    assert "untouched base" in capsys.readouterr().err
    run = open_target(write_experiment(tmp_path, tiny_model), [], tmp_path / "runs")
    assert main(["adapter", "merge", str(run.paths.root)]) == 2
    assert "sft train" in capsys.readouterr().err
    assert main(["adapter", "merge", str(tmp_path / "nothing")]) == 2
    assert "--base and --out" in capsys.readouterr().err


def test_an_adapter_from_elsewhere(trained: Run, tiny_model: Path, tmp_path: Path, capsys) -> None:
    adapter, out = trained.paths.cell("main").adapter, tmp_path / "model"
    assert main(["adapter", "merge", str(adapter), "--base", str(tiny_model), "--out", str(out)]) == 0
    assert "14 weights changed" in capsys.readouterr().out and (out / "model.safetensors").exists()


def test_an_adapter_goes_to_a_private_repository_with_its_card(trained: Run, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"# mine\nexport HF_TOKEN='{TOKEN}'\nHF_USERNAME=someone\n")
    done = push(trained, hub, tmp_path, "--licence", "apache-2.0", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["repository"] == "someone/tiny-main" and told["url"] == f"{hub.url}/someone/tiny-main"
    assert hub.repositories == {"someone/tiny-main": True} and len(hub.commits) == 1
    files = hub.files["someone/tiny-main"]
    adapter = trained.paths.cell("main").adapter
    assert files["adapter_model.safetensors"] == (adapter / "adapter_model.safetensors").read_bytes()
    assert {"adapter_config.json", "README.md", "sftlib.json", "tokenizer.json"} <= set(files)
    card = files["README.md"].decode()
    assert "license: apache-2.0" in card and "library_name: peft" in card and "Not evaluated." in card
    assert trained.inputs["train"]["sha256"] in card and trained.known_parts("main")["adapter"] in card
    sent = b"".join(files[name] for name in files if not name.endswith(".safetensors"))
    for secret in (TOKEN, str(trained.paths.root.parent), str(trained.config.model.name_or_path)):
        assert secret.encode() not in sent, "a token or a path of this machine left it"
    assert TOKEN not in done.stdout + done.stderr


def test_the_card_tells_what_was_reached(trained: Run) -> None:
    from sftlib.publish.card import model_card

    figures = {"n": 18, "f1": 0.5, "f1_low": 0.25, "f1_high": 0.75, "fpr": None}
    report = trained.paths.report.metrics_json
    report.parent.mkdir(exist_ok=True)
    report.write_text(
        json.dumps(
            {
                "complete": False,
                "run": {"confidence": 0.95},
                "cells": {"main": {"overall": figures, "groups": {"g": {"north": figures}}}},
            }
        )
    )
    card = model_card(trained, "main", merged=False, licence=None)
    report.unlink()
    assert "| all | 18 | 0.500 [0.250-0.750] |" in card and "| g = north | 18 |" in card and "95% intervals" in card
    assert "incomplete" in card and "not stated" in card and "license: other" in card


def test_a_merged_model_goes_public_only_when_asked(trained: Run, hub: Hub, tmp_path: Path) -> None:
    done = push(trained, hub, tmp_path, "--merged", "--name", "me/my model", "--public", HF_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert hub.repositories == {"me/my-model": False}
    assert {"model.safetensors", "config.json", "README.md"} <= set(hub.files["me/my-model"])
    assert "library_name: transformers" in hub.files["me/my-model"]["README.md"].decode()
    done = push(trained, hub, tmp_path, "--name", "me/my-model", HF_TOKEN=TOKEN)
    assert done.returncode == 2 and "is public" in done.stderr  # what is private does not go into it unasked
    assert len(hub.commits) == 1


@pytest.mark.parametrize(
    ("variables", "code", "words"),
    [
        ({"HF_USERNAME": "me"}, 2, "no hub token: set HF_TOKEN"),
        ({"HF_TOKEN": TOKEN}, 2, "no hub user: set HF_USERNAME"),
        ({"HF_TOKEN": "hf_wrong", "HF_USERNAME": "me"}, 1, "the token was refused"),
        ({"HF_TOKEN": TOKEN, "HF_USERNAME": "me", "HF_HUB_OFFLINE": "1"}, 2, "HF_HUB_OFFLINE"),
    ],
)
def test_what_is_missing_is_said(
    trained: Run, hub: Hub, tmp_path: Path, variables: dict[str, str], code: int, words: str
) -> None:
    done = push(trained, hub, tmp_path, **variables)
    assert done.returncode == code and words in done.stderr and "Traceback" not in done.stderr
    assert "hf_wrong" not in done.stderr and TOKEN not in done.stderr and not hub.commits


def test_a_token_that_may_only_read(trained: Run, hub: Hub, tmp_path: Path) -> None:
    hub.may_write = False
    done = push(trained, hub, tmp_path, HF_TOKEN=TOKEN, HF_USERNAME="me")
    assert done.returncode == 1 and "may not write" in done.stderr and not hub.files


def test_a_dry_run_sends_nothing_and_needs_no_token(trained: Run, hub: Hub, tmp_path: Path) -> None:
    done = push(trained, hub, tmp_path, "--dry-run", HF_USERNAME="me")
    assert done.returncode == 0 and "# tiny: main" in done.stdout and not hub.requests
