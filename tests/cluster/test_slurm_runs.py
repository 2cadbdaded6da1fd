"""Runs on a real Slurm, stages stood in for: what is submitted, what is done again, and what is not."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from experiments import PROJECT, Workplace
from real_cluster import Cluster, wait_until

from sftlib.artifacts.shards import VALID, check_shard

pytestmark = pytest.mark.slurm


@pytest.fixture
def place(cluster: Cluster, outputs: Path) -> Workplace:
    return Workplace(cluster, outputs)


def has_ended(place: Workplace, element: str, attempt: int = 1) -> bool:
    name = element.replace("/", ".")
    return (place.latest.paths.attempt(attempt) / f"{name}.ending.json").exists()


def test_a_run_from_submission_to_report(place: Workplace) -> None:
    place.write(sweep={"grid": {"lora.r": [4, 8]}})
    said = place.run("--wait", "--json")
    outcome = json.loads(said[said.index("{\n") : said.rindex("}") + 1])
    assert set(outcome["elements"].values()) == {"done"} and outcome["report"]
    assert set(place.starts().values()) == {1}
    frozen = {Path(event["code"]).parts[-3].partition("-")[0] for event in place.trace()}
    assert frozen == {"code"}  # the copy in the run directory, whatever happens to the working tree
    assert "nothing to do" in place.run("--wait")


def test_editing_the_source_changes_no_queued_job(cluster: Cluster, outputs: Path) -> None:
    """What waits in the queue runs the source of the submission, whatever becomes of the working tree."""
    code = outputs / "code"
    for part in ("jobs", "sftlib", "slurm", "configs", "tests/cluster", "tests/unit/jobs"):
        shutil.copytree(PROJECT / part, code / part, ignore=shutil.ignore_patterns("__pycache__", "posts"))
    place = Workplace(cluster, outputs, project=code)
    place.write()
    place.behave(train__main={"sleep": 4})
    place.run()
    wait_until("the first element runs", lambda: is_running(place, "train/main"))
    for edited in ("jobs/supervisor.py", "sftlib/artifacts/shards.py", "sftlib/__init__.py"):
        (code / edited).write_text("raise SystemExit('edited after the submission')")
    wait_until("it is over", lambda: has_ended(place, "merge"), timeout_s=60)
    assert place.starts() == {"train/main": 1, "predict/main/0-1": 1, "predict/main/2-3": 1, "merge": 1}
    assert (place.latest.paths.report.html).exists()


def test_more_elements_than_an_array_may_hold(place: Workplace) -> None:
    """1,200 in as few arrays as Slurm takes: its largest index is MaxArraySize - 1. None of them may start here."""
    place.write(records=1200, predict={"num_shards": 1198, "shards_per_job": 1, "baseline": False})
    place.behave(train__main={"sleep": 100})
    said = place.run()
    assert "1,200 elements in 4 arrays" in said
    journal = (place.latest.paths.attempt(1) / "submission.jsonl").read_text().splitlines()
    sizes = [len(event["elements"]) for event in map(json.loads, journal) if event["event"] == "intended"]
    assert sizes == [1, 1001, 197, 1]
    assert "cancelled 1,200 elements" in place.sft("cancel", "runs/latest")
    wait_until("nothing is left", lambda: not in_queue(place))


def test_a_shard_that_fails_for_good(place: Workplace) -> None:
    place.write()
    place.behave(**{"predict__main__2-3": {"exit": 1}})
    said = place.run("--wait", expect=3)
    assert "INCOMPLETE" in said and "was told to fail" in said
    place.behave()
    said = place.sft("rerun", "runs/latest", "--wait")
    assert "reusing        1 of 1 adapter, 2 of 4 shards" in said and "2 elements in 2 arrays" in said
    assert place.starts() == {"train/main": 1, "predict/main/0-1": 1, "predict/main/2-3": 2, "merge": 2}


def test_what_a_failed_training_takes_with_it(place: Workplace) -> None:
    """64 and 65 are not tried again, what needs the adapter is never started, the other cells and the merge are."""
    place.write(
        sweep={"list": [{"id": "config", "lora.r": 4}, {"id": "data", "lora.r": 8}, {"id": "fine", "lora.r": 2}]}
    )
    place.behave(train__config={"exit": 64}, train__data={"exit": 65})
    said = place.run("--wait", expect=3)
    assert "the configuration is wrong" in said and "the data is wrong" in said
    starts = place.starts()
    assert starts["train/config"] == starts["train/data"] == starts["merge"] == 1
    assert {name for name in starts if name.startswith("predict")} == {"predict/fine/0-1", "predict/fine/2-3"}


def test_an_unhealthy_node_is_left_for_another(place: Workplace) -> None:
    place.write(predict={"num_shards": 1, "baseline": False})
    place.behave(train__main={"sick_node": "node0"})
    place.run("--wait", "--set", "cluster.exclude=[node1]")
    nodes = [event["node"] for event in place.trace() if event["element"] == "train/main" and event["event"] == "start"]
    assert nodes == ["node0", "node2"]
    bad = json.loads((place.latest.paths.attempt(1) / "train.main.bad-nodes.json").read_text())
    assert bad == ["node0"]


def is_running(place: Workplace, element: str) -> bool:
    return any(event["element"] == element and event["event"] == "start" for event in place.trace())


@pytest.mark.parametrize("how", ["scontrol requeue", "preemption", "user signal"])
def test_only_the_disturbed_element_starts_again(place: Workplace, how: str) -> None:
    place.write(sweep={"grid": {"lora.r": [4, 8]}}, predict={"num_shards": 1, "baseline": False})
    place.behave(train__r4={"sleep_once": 60}, train__r8={"sleep_once": 20 if how != "preemption" else 60})
    if how == "preemption":
        place.run("--set", "cluster.exclusive=true", "--set", "cluster.exclude=[node2]")
    else:
        place.run()
    wait_until("both run", lambda: is_running(place, "train/r4") and is_running(place, "train/r8"))
    job = place.job_of("train/r4")
    if how == "scontrol requeue":
        place.cluster.run("scontrol", "requeue", job)
    elif how == "user signal":  # as before the walltime
        place.cluster.run("scancel", "--signal=USR2", job)
    else:
        node = next(e["node"] for e in place.trace() if e["element"] == "train/r4")
        place.cluster.run("srun", "-p", "urgent", "-w", node, "--exclusive", "--mem=50", "true")
        (place.latest.paths.root / "behaviours.json").write_text("{}")
        place.latest.paths.attempt(1).joinpath("train.r8.stop").touch()
    wait_until("it is over", lambda: has_ended(place, "merge"), timeout_s=90)
    ended = [event["event"] for event in place.trace() if event["element"] == "train/r4"]
    assert ended[-2:] == ["start", "exit 0"] and ended.count("start") == 2
    if how != "preemption":
        assert place.starts()["train/r8"] == 1
    assert check_shard(place.latest.paths.cell("r4"), 0, 1, {}).state == VALID


def test_a_cancelled_element_stays_cancelled(place: Workplace) -> None:
    place.write(predict={"num_shards": 1, "baseline": False})
    place.behave(train__main={"sleep": 60})
    place.run()
    wait_until("it runs", lambda: is_running(place, "train/main"))
    place.cluster.run("scancel", place.job_of("train/main"))
    wait_until("the merge has run", lambda: has_ended(place, "merge"), timeout_s=60)
    assert place.starts() == {"train/main": 1, "merge": 1}


STEPS = ["intended:train", "submitted:train", "intended:predict", "submitted:predict", "submitted:merge", "released"]


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_submitting(place: Workplace, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 at each step between the sbatch calls, then again: no element twice, none missing."""
    place.write()
    monkeypatch.setenv("SFTLIB_TEST_KILL_AT", step)
    killed = subprocess.run(
        place.command("run", "experiment.json", "--cluster", "slurm"),
        cwd=place.folder,
        env=place.env,
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    monkeypatch.delenv("SFTLIB_TEST_KILL_AT")
    place.run()
    attempt = 1 if step == "released" else 2
    wait_until("it is over", lambda: has_ended(place, "merge", attempt), timeout_s=60)
    assert place.starts() == {"train/main": 1, "predict/main/0-1": 1, "predict/main/2-3": 1, "merge": 1}
    wait_until("nothing is left", lambda: not in_queue(place))


def in_queue(place: Workplace) -> str:
    """What is queued or runs of this place's run."""
    shown = place.cluster.run("squeue", "-h", "--states=PENDING,RUNNING", "-o", "%i %j").stdout
    return "\n".join(line for line in shown.splitlines() if f" {place.latest.paths.root.name}:" in line)


def test_a_refused_submission_leaves_nothing_behind(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real sbatch, but the third call is refused, as by a submit limit that the profile does not know."""
    place.write()
    programs = place.folder / "bin"
    programs.mkdir()
    (programs / "sbatch").write_text(
        f'''#!/bin/bash
case "$*" in *--test-only*) exec "{shutil.which("sbatch")}" "$@" ;; esac
echo x >>"{programs}/calls"
if [ "$(wc -l <"{programs}/calls")" = 3 ]; then
  echo "sbatch: error: AssocMaxSubmitJobLimit" >&2 && exit 1
fi
exec "{shutil.which("sbatch")}" "$@"
'''
    )
    (programs / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    said = place.run(expect=1)
    assert "Slurm refused merge-0001: AssocMaxSubmitJobLimit; set cluster.max_submit" in said
    wait_until("nothing is left", lambda: not in_queue(place))
    assert place.starts() == {}


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("cluster.partition=man", "sinfo lists the partitions"),
        ("cluster.train.time_min=9999", "set cluster.*.time_min"),
        ("cluster.merge.memory_gb=900", "cluster.merge: "),
        ("model.name_or_path=org/other", "is not staged in"),
        ("cluster.constraint=h100", "Invalid feature specification"),
    ],
)
def test_what_slurm_would_refuse_is_refused_at_plan_time(place: Workplace, setting: str, complaint: str) -> None:
    place.write()
    for command in ("plan", "run"):
        said = place.sft(command, "experiment.json", "--cluster", "slurm", "--set", setting, expect=2)
        assert complaint in said, said
    assert not (place.folder / "runs").exists()


def test_the_scripts_of_the_plan_are_those_that_are_submitted(place: Workplace) -> None:
    place.write(sweep={"grid": {"lora.r": [4, 8]}})
    planned = place.sft("plan", "experiment.json", "--cluster", "slurm", "--scripts")
    texts = dict(part.split("\n", 1) for part in re.split(r"^##### (?=\S)", planned, flags=re.MULTILINE)[1:])
    place.run()
    attempt = place.latest.paths.attempt(1)
    journal = [json.loads(line) for line in (attempt / "submission.jsonl").read_text().splitlines()]
    jobs = {event["array"]: event["job"] for event in journal if event["event"] == "submitted"}
    assert len(texts) == len(jobs) == 4
    for title, text in texts.items():
        name = title.partition(":")[0]
        for array, job in jobs.items():
            text = text.replace(f"@{array}", job)
        assert (attempt / "submitit" / name / f"{jobs[name]}_submission.sh").read_text().strip() == text.strip()
    wait_until("it is over", lambda: has_ended(place, "merge"), timeout_s=60)


def test_a_second_run_while_the_first_is_queued(place: Workplace) -> None:
    place.write()
    place.behave(train__main={"sleep": 5})
    place.run()
    assert "nothing to submit: what is missing is queued or running" in place.run()
    wait_until("it is over", lambda: has_ended(place, "merge"), timeout_s=60)
    assert set(place.starts().values()) == {1}


def test_status_logs_and_cancel(place: Workplace) -> None:
    place.write()
    place.behave(train__main={"sleep": 100})
    place.run()
    wait_until("it runs", lambda: is_running(place, "train/main"))
    place.latest.paths.queue.unlink(missing_ok=True)
    status = json.loads(place.sft("status", "runs/latest", "--json"))
    states = {row["element"]: (row["state"], row["note"]) for row in status["rows"]}
    assert states["train/main"][0] == "running" and states["merge"] == ("waiting", "Dependency")
    assert place.latest.paths.queue.exists()
    before = place.latest.paths.queue.read_text()
    assert "Slurm (sft cancel" in place.sft("status", "runs/latest")
    assert place.latest.paths.queue.read_text() == before  # not asked again within half a minute
    assert "fake_stage.py train" in place.sft("logs", "runs/latest", "train/main")
    assert "did you mean 'train.main'?" in place.sft("logs", "runs/latest", "train/mein", expect=2)
    assert "cancelled 4 elements" in place.sft("cancel", "runs/latest")
    wait_until("nothing is left", lambda: not in_queue(place))
    wait_until("its supervisor has written how it ended", lambda: has_ended(place, "train/main"))  # Slurm: completing
    assert place.starts() == {"train/main": 1}
    place.latest.paths.queue.unlink(missing_ok=True)
    status = json.loads(place.sft("status", "runs/latest", "--json"))
    assert status["rows"][0]["state"] == "stopped"
    place.behave()
    place.sft("rerun", "runs/latest", "--wait")
    assert place.starts()["train/main"] == 2


def test_the_doctor_names_limits_and_tries_the_links(place: Workplace) -> None:
    found = {fact["name"]: fact for fact in json.loads(place.sft("doctor", "--json"))}
    assert found["sbatch"]["value"].startswith("slurm") and "main 1-00:00:00" in found["partitions"]["value"]
    assert found["arrays"]["value"] == "MaxArraySize 1001: cluster.max_array_size"
    assert found["all-reduce"]["is_ok"] and found["all-reduce"]["value"].startswith("2 ranks by ")
