"""What only tokens show, with a real tokenizer and with templates that are wrong in one way each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sftlib.data.audit.audit import audit
from sftlib.data.audit.subject import data_subject, experiment_subject
from sftlib.data.audit.tokens import load_light_tokenizer
from sftlib.data.rendering import IGNORED, Renderer, TrainingRow
from tests import flawed
from tests.conftest import PROJECT
from tests.posts import write_experiment

TASK = {"type": "classification", "labels": ["hate", "normal"]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny import build_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer().save_pretrained(folder)
    return folder


def audited(folder: Path, model: Path, **sections) -> dict:
    files = flawed.write_clean(folder, train=60)
    settings = {"task": TASK, "model": {"name_or_path": str(model)}, **sections}
    return audit(data_subject(files["train"], {"test": files["test"]}, settings))


def kinds(record: dict) -> dict[str, dict]:
    return {finding["kind"]: finding for finding in record["findings"]}


def test_lengths_are_those_of_the_renderer(tmp_path: Path, model: Path) -> None:
    record = audited(tmp_path, model)
    subject = data_subject(tmp_path / "train.jsonl", {}, {"task": TASK, "model": {"name_or_path": str(model)}})
    renderer = Renderer(subject.config, load_light_tokenizer(subject.config))
    lengths = sorted(len(renderer.row(entry.sample).ids) for entry in subject.parts["train"].entries)
    told = record["splits"]["train"]["lengths"]
    assert (told["unit"], told["max"], told["total"], sum(told["counts"])) == ("tokens", lengths[-1], sum(lengths), 60)
    assert told["median"] == lengths[30]
    assert not set(kinds(record)) & {"overlong", "double_bos", "eos_not_learnt", "no_supervised_token"}


@pytest.mark.parametrize(("policy", "level"), [("error", "error"), ("drop", "warning"), ("truncate_prompt", "warning")])
def test_what_is_cut_is_counted_by_class_and_group(tmp_path: Path, model: Path, policy: str, level: str) -> None:
    whole = audited(tmp_path, model)["splits"]["train"]["lengths"]
    record = audited(tmp_path, model, train={"max_length": whole["median"], "overlong": policy})
    finding = kinds(record)["overlong"]
    assert finding["level"] == level and 0 < finding["count"] <= 30
    assert sum(int(value.split(" of ")[0]) for value in finding["by_class"].values()) == finding["count"]
    assert len(finding["by_group"]) == 3


def test_two_bos_tokens(tmp_path: Path, model: Path) -> None:
    template = tmp_path / "twice.jinja"
    template.write_text(
        "{{ bos_token }}{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    assert kinds(audited(tmp_path, model, prompt={"template_file": str(template)}))["double_bos"]["count"] == 60


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (TrainingRow([5, 6, 7], [IGNORED] * 3), "no_supervised_token"),
        (TrainingRow([5, 6, 7], [IGNORED, 6, 7]), "eos_not_learnt"),
        (TrainingRow([5, 6, 2], [IGNORED, 6, IGNORED]), "eos_not_learnt"),
    ],
)
def test_masks_that_teach_nothing_or_no_end(
    tmp_path: Path, model: Path, monkeypatch, row: TrainingRow, kind: str
) -> None:
    monkeypatch.setattr(Renderer, "rows", lambda self, samples: [row] * len(samples))
    finding = kinds(audited(tmp_path, model))[kind]
    assert finding["level"] == "error" and finding["count"] == 60


def test_cells_with_prompts_of_their_own_are_audited_each(tmp_path: Path, model: Path) -> None:
    """Only the long prompt does not fit, and only the cells that use it are named."""
    long = "word " * 200 + "{text}"
    settings = {
        "train.max_length": 128, "sweep.grid": {"prompt.user": ["{text}", long], "lora.r": [4, 8]},
    }  # fmt: skip
    path = write_experiment(tmp_path, model)
    subject = experiment_subject(path, [f"{key}={json.dumps(value)}" for key, value in settings.items()], "local")
    record = audit(subject)
    found = [finding for finding in record["findings"] if finding["kind"] == "overlong"]
    assert len(found) == 1 and found[0]["count"] == 24
    assert len(found[0]["cells"]) == 2 and len(subject.views) == 2 and found[0]["cells"] == subject.views[1].cells


def test_a_tokenizer_that_is_not_here_is_said_and_not_fetched(tmp_path: Path) -> None:
    record = audited(tmp_path, Path("nobody/nothing"))
    assert "nobody/nothing" in next(iter(record["left_out"].values()))
    assert record["splits"]["train"]["lengths"]["unit"] == "characters"


def test_neither_torch_nor_heavy_libraries_are_loaded(tmp_path: Path, model: Path) -> None:
    files = flawed.write_clean(tmp_path, train=60)
    program = (
        "import sys\nfrom sftlib.__main__ import main\n"
        f"code = main(['audit', {str(files['train'])!r}, '--test', {str(files['test'])!r}, '--model', {str(model)!r}])\n"
        "print([m for m in ('torch', 'datasets', 'pandas', 'peft', 'trl') if m in sys.modules])\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]" and "tokens" in done.stdout
