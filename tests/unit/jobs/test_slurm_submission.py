"""What would be submitted to Slurm: arrays within the limits, and scripts word for word. Slurm itself: tests/cluster."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from jobs.attempts import Attempt
from jobs.plan import AFTER_ANY, MERGE, PREDICT, TRAIN, Element, full_need, plan_elements
from jobs.slurm.arrays import Array, arrays_of, dependency, fits
from jobs.slurm.journal import Journal, read_journal
from jobs.slurm.live import to_submit, without_live
from jobs.slurm.preview import preview, scripts
from jobs.slurm.queue import _parse
from sftlib.config.cluster import Resources
from sftlib.config.load import load_experiment
from sftlib.config.tree import SFTConfig

GOLDEN = Path(__file__).parent / "golden" / "scripts.txt"
RENEW = "renew it with `SFT_RENEW_GOLDEN=1 python -m pytest tests/unit/jobs/test_slurm_submission.py`, and look at the difference"


def elements(trains: int, shards: int) -> list[Element]:
    found = [Element(f"train/{i}", TRAIN, (), Resources(), cell=str(i)) for i in range(trains)]
    for i in range(trains):
        found += [
            Element(f"predict/{i}/{s}-{s}", PREDICT, (), Resources(), cell=str(i), after=(f"train/{i}",))
            for s in range(shards)
        ]
    after = tuple(element.id for element in found)
    return [*found, Element(MERGE, MERGE, (), Resources(), after=after, condition=AFTER_ANY)]


@given(st.integers(1, 30), st.integers(1, 12), st.integers(2, 9), st.one_of(st.none(), st.integers(1, 12)))
def test_every_element_is_in_one_array_within_the_limits(
    trains: int, shards: int, max_array_size: int, max_submit: int | None
) -> None:
    planned = elements(trains, shards)
    arrays = arrays_of(planned, max_array_size, max_submit)
    assert [e.id for array in arrays for e in array.elements] == [e.id for e in planned]
    most = min(max_array_size, max_submit or max_array_size)
    assert max(len(array.elements) for array in arrays) <= most
    assert len({array.name for array in arrays}) == len(arrays)
    assert all(len({e.after for e in array.elements}) == 1 for array in arrays)
    needed = -(-trains // most) + trains * -(-shards // most) + 1
    assert len(arrays) == needed, "not one sbatch more than the limits ask for"


def test_dependencies_name_elements_and_a_merge_names_each_array_once() -> None:
    planned = elements(2, 3)
    ids: dict[str, str] = {}
    seen = []
    for number, array in enumerate(arrays_of(planned, 1001), 7):
        seen.append(dependency(array.first, ids))
        ids |= array.job_ids(str(number))
    assert seen == [None, "afterok:7_0", "afterok:7_1", "afterany:7:8:9"]
    assert dependency(planned[-1], {}) is None  # what has ended is waited for no more: Slurm has forgotten it


def test_what_fits_into_the_queue_is_taken_from_the_front() -> None:
    arrays = arrays_of(elements(2, 4), 1001, 5)
    assert [len(array.elements) for array in arrays] == [2, 4, 4, 1]
    assert [fits(arrays, room) for room in (None, 0, 1, 2, 5, 6, 9, 10, 11)] == [4, 0, 0, 1, 1, 2, 2, 3, 4]


def test_what_is_in_the_queue_is_not_submitted_again() -> None:
    need = full_need([Cell("a"), Cell("b")], 4)
    live = {"train/a": "7_0", "predict/a/0-1": "8_0", "merge": "9"}
    left = without_live(need, live)
    assert left.shards == {"a": (2, 3), "b": (0, 1, 2, 3)}
    planned = plan_elements(Path("/runs/x"), SFTConfig(), left, lambda cell: SFTConfig())
    new = to_submit(planned, live)
    assert "train/a" not in {element.id for element in new} and "train/b" in {element.id for element in new}
    assert {"train/a", "predict/a/0-1"} <= set(new[-1].after)
    nothing = without_live(full_need([Cell("a")], 2), {"train/a": "7", "predict/a/0-1": "8", "merge": "9"})
    planned = plan_elements(Path("/runs/x"), SFTConfig(), nothing, lambda cell: SFTConfig())
    assert to_submit(planned, {"train/a": "7", "predict/a/0-1": "8", "merge": "9"}) == []


def test_no_token_cache_is_filled_for_a_copy_while_trainings_are_in_the_queue() -> None:
    learnt = SFTConfig.model_validate({"cluster": {"scheduler": "slurm"}})
    copied = learnt.model_copy(update={"lora": learnt.lora.model_copy(update={"adapter": "/adapters/b"})})
    need = full_need([Cell("a"), Cell("b")], 2)
    planned = plan_elements(Path("/runs/x"), learnt, need, {"a": learnt, "b": copied}.__getitem__)
    new = {element.id for element in to_submit(planned, {"train/a": "7"})}
    assert "prepare" not in new and "train/b" in new
    assert "prepare" in {element.id for element in to_submit(planned, {"train/b": "7"})}


class Cell:
    def __init__(self, name: str) -> None:
        self.id, self.is_baseline = name, False


def test_the_journal_reads_back_what_was_written(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "attempt-001")
    attempt.root.mkdir()
    journal = Journal(attempt)
    first, second = (Array(name, (Element(name, TRAIN, (), Resources()),)) for name in ("one", "two"))
    journal.intend(first, "job-one")
    assert [entry.job_name for entry in read_journal(attempt).unfinished()] == ["job-one"]
    journal.submitted(first, "7")
    journal.released()
    journal.intend(second, "job-two")
    read = read_journal(attempt)
    assert read.job_ids() == {"one": "7"} and [entry.name for entry in read.unfinished()] == ["two"]
    journal.abandoned()
    assert read_journal(attempt).unfinished() == []


def test_answers_of_slurm_are_read_whatever_they_look_like() -> None:
    text = "12_3|RUNNING|None|node1\n12_[4-9%2]|PENDING|Resources|\n13|CANCELLED by 1000|0:0|None assigned\n\n14|||\nnonsense"
    jobs = _parse(text)
    assert {name: (job.state, job.is_live) for name, job in jobs.items()} == {
        "12_3": ("RUNNING", True), "13": ("CANCELLED", False),
    }  # fmt: skip


def test_scripts_word_for_word(experiment_file, tmp_path: Path) -> None:
    """The golden text: a change of it is a change of what users submit."""
    path = experiment_file(
        cluster={
            "scheduler": "slurm", "partition": "gpu", "account": "lab", "qos": "normal", "constraint": "a100",
            "gpu_request": "gres=gpu:a100:{n}", "exclude": ["bad1", "bad2"], "max_parallel": 3, "mail": "me@example.org",
            "setup": ["module load apptainer"], "train": {"time_min": 90, "cpus": 8, "memory_gb": 64},
        },
        parallel={"strategy": "fsdp", "nodes": 2, "gpus_per_node": 4},
    )  # fmt: skip
    experiment = load_experiment(path, [], "slurm")
    config, root = experiment.config, tmp_path / "it's a run"
    planned = plan_elements(root, config, full_need(experiment.cells, 4), lambda cell: config)
    text = "\n".join(f"##### {array.name}\n{script}" for array, script in scripts(*preview(root, config, planned)))
    text = text.replace(str(tmp_path), "/folder").replace(sys.executable, "python3")
    text = re.sub(r"code-[0-9a-f]{12}", "code-HASH", re.sub(r":[0-9a-f]{8}(?=['\n])", ":PLACE", text))
    if os.environ.get("SFT_RENEW_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text)
    assert GOLDEN.exists() and text == GOLDEN.read_text(), RENEW
