"""The command as a person or a script meets it: help, exit codes, plan, problems, and what it must not import."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from jobs.cli import COMMANDS, GROUPS, help_text, main

HEAVY = ("torch", "transformers", "datasets", "pandas", "numpy", "pyarrow", "submitit")


def test_help_lists_every_command_in_its_group(capsys) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for title, commands in GROUPS.items():
        assert f"{title}:" in printed
        for name, command in commands.items():
            assert f"  {name:<12} {command.summary}" in printed
    assert max(map(len, printed.splitlines())) <= 100
    assert main([]) == 2 and help_text() in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", [name for name, command in COMMANDS.items() if command.home.startswith("jobs.commands.")]
)
def test_each_command_has_help_with_an_example(name: str, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert "example" in capsys.readouterr().out


def test_unknown_commands_and_runs(capsys) -> None:
    assert main(["pln"]) == 2
    assert "did you mean 'plan'?" in capsys.readouterr().err
    assert main(["logs", "runs/x"]) == 2
    assert "runs/x is not a run directory" in capsys.readouterr().err
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("sft ")


def test_run_side_commands_are_handed_on_as_they_are(monkeypatch) -> None:
    handed = []
    monkeypatch.setattr("os.execv", lambda path, argv: handed.append((path, argv)) or sys.exit(0))
    with pytest.raises(SystemExit):
        main(["train", "exp.yaml", "--help"])
    assert handed == [(sys.executable, [sys.executable, "-m", "sftlib", "train", "exp.yaml", "--help"])]


def test_the_run_side_knows_every_command_that_is_handed_to_it() -> None:
    from sftlib import __main__ as run_side

    handed = {name for name, command in COMMANDS.items() if command.home == "sftlib"}
    assert handed <= set(run_side.COMMANDS)


def test_plan_shows_everything_on_a_page(experiment_file, tmp_path, capsys) -> None:
    path = experiment_file(train={"batch_size": 4, "gradient_accumulation": 2, "epochs": 2})
    before = sorted(tmp_path.rglob("*"))
    assert main(["plan", str(path), "--cluster", "local", "--runs-dir", str(tmp_path / "runs")]) == 0
    assert sorted(tmp_path.rglob("*")) == before, "a plan writes nothing"
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for expected in (
        "train 40 records, labelled", "label: hate 26, normal 14", "group: a 20, b 20", "test 12 records, labelled",
        "r4 lora.r=4 8 10", "baseline the base model, no adapter", "train 2 1 thread",
        "predict 6 1 thread train of its cell; the baseline: nothing",
    ):  # fmt: skip
        assert expected in lines
    assert any(line.startswith(f"run directory {tmp_path}/runs/tiny-") for line in lines)
    # A path is as long as it is; everything else fits.
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 100


def test_plan_as_json(experiment_file, capsys) -> None:
    path = experiment_file(sweep={})
    assert main(["plan", str(path), "--cluster", "local", "--json", "--set", "train.seed=1,2"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert [cell["id"] for cell in plan["cells"]] == ["s1", "s2", "baseline"]
    assert plan["data"]["test"]["records"] == 12 and plan["elements"][0]["argv"][0] == "train"
    assert plan["exists"] is False and plan["problems"] == []


def test_plan_numbers_every_problem(experiment_file, tmp_path, capsys) -> None:
    path = experiment_file(data={"train": "train.jsonl", "test": "test.jsonl"})
    (tmp_path / "train.jsonl").write_text("")
    (tmp_path / "test.jsonl").write_text('{"text": "a", "label": "hat"}\n')
    assert main(["plan", str(path), "--cluster", "local", "--set", "lora.r=4,x"]) == 2
    printed = capsys.readouterr().err
    assert "3 problems found" in printed and "1. " in printed and "3. " in printed
    assert "did you mean 'hate'?" in printed and "holds no record" in printed
    assert main(["plan", str(path), "--cluster", "local", "--json"]) == 2
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 2


def test_run_refuses_before_anything_is_started(experiment_file, tmp_path, capsys) -> None:
    path, runs = experiment_file(), tmp_path / "runs"
    arguments = ["run", str(path), "--runs-dir", str(runs)]
    assert main([*arguments, "--cluster", "local", "--no-wait"]) == 2
    assert "nohup" in capsys.readouterr().err
    assert main([*arguments, "--cluster", "local", "--set", "predict.threshold=f1"]) == 2
    assert "is fitted on validation records" in capsys.readouterr().err
    (tmp_path / "test.jsonl").unlink()
    assert main([*arguments, "--cluster", "local"]) == 2
    assert "there is no such file" in capsys.readouterr().err
    assert not runs.exists()


@pytest.mark.parametrize(
    "words", [["--help"], ["plan", "EXP", "--cluster", "local"], ["presets"], ["schema"], ["doctor", "--quick"]]
)
def test_nothing_heavy_is_imported(words, experiment_file, child_environment, tmp_path) -> None:
    words = [str(experiment_file()) if word == "EXP" else word for word in words]
    program = f"import sys; from jobs.cli import main; code = main({words!r}); print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr); sys.exit(code)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=child_environment,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (0, "[]")


def test_debug_shows_where(capsys) -> None:
    assert main(["--debug", "status", "/nowhere"]) == 2
    assert "Traceback" in capsys.readouterr().err
    assert main(["status", "/nowhere"]) == 2
    assert "Traceback" not in capsys.readouterr().err
