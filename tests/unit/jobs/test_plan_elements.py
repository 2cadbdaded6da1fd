"""Elements out of cells and needs: ids, arguments, order, ranges."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from jobs.plan import AFTER_ANY, AFTER_OK, MERGE, PREPARE, Need, full_need, group_shards, plan_elements
from jobs.schedule import Schedule, State

ROOT = Path("/runs/a b")


@given(st.sets(st.integers(0, 60)), st.integers(1, 9))
def test_groups_cover_exactly_and_are_contiguous(shards: set[int], per_job: int) -> None:
    groups = list(group_shards(shards, per_job))
    assert [shard for group in groups for shard in group] == sorted(shards)
    assert all(1 <= len(group) <= per_job and group.step == 1 for group in groups)


def elements_of(one, need=None):
    configs = {cell.id: cell.config for cell in one.cells}
    return plan_elements(ROOT, one.config, need or full_need(one.cells, 4), configs.__getitem__)


def test_everything_in_order(experiment) -> None:
    elements = {element.id: element for element in elements_of(experiment())}
    assert list(elements) == [
        "train/r4", "train/r8", "predict/r4/0-1", "predict/r4/2-3", "predict/r8/0-1", "predict/r8/2-3",
        "predict/baseline/0-1", "predict/baseline/2-3", "merge",
    ]  # fmt: skip
    assert elements["train/r4"].argv == ("train", "/runs/a b", "--cell", "r4")
    part = elements["predict/r8/2-3"]
    assert part.argv == ("predict", "/runs/a b", "--cell", "r8", "--shards", "2-3")
    assert (part.after, part.condition, part.resources.gpus) == (("train/r8",), AFTER_OK, 1)
    assert elements["predict/baseline/0-1"].after == ()
    last = elements[MERGE]
    assert last.condition == AFTER_ANY and set(last.after) == set(elements) - {MERGE}
    assert last.resources.gpus == 0


def test_only_what_is_needed(experiment) -> None:
    need = Need(train=("r4",), shards={"r4": (0, 1, 2, 3), "baseline": (0, 2, 3)}, merge=True)
    elements = {element.id: element.after for element in elements_of(experiment(), need)}
    assert list(elements)[:-1] == [
        "train/r4",
        "predict/r4/0-1",
        "predict/r4/2-3",
        "predict/baseline/0-0",
        "predict/baseline/2-3",
    ]
    assert elements["predict/baseline/0-0"] == ()
    trained = Need(train=(), shards={"r8": (1,)}, merge=True)
    assert {element.id: element.after for element in elements_of(experiment(), trained)}["predict/r8/1-1"] == ()


def test_workers_are_asked_for_as_far_as_an_element_has_shards(experiment) -> None:
    for workers, expected in ((None, 1), (2, 2), (4, 2)):  # two shards an element
        found = [
            e
            for e in elements_of(experiment(predict={"num_shards": 4, "shards_per_job": 2, "workers": workers}))
            if e.kind == "predict"
        ]
        assert {(e.workers, e.resources.gpus) for e in found} == {(expected, expected)}


def test_schedule_cascades_and_merges_last(experiment) -> None:
    schedule = Schedule(elements_of(experiment()))
    assert [element.id for element in schedule.ready()][:2] == ["train/r4", "train/r8"]
    schedule.start("train/r4")
    schedule.end("train/r4", State.FAILED)
    assert schedule.states["predict/r4/0-1"] is State.SKIPPED
    assert "merge" not in [element.id for element in schedule.ready()]
    for name, state in schedule.states.items():
        if state is State.WAITING and name != "merge":
            schedule.end(name, State.DONE)
    assert [element.id for element in schedule.ready()] == ["merge"]
    schedule.end("merge", State.INCOMPLETE)
    assert schedule.is_over


def test_stopping_starts_nothing_more(experiment) -> None:
    schedule = Schedule(elements_of(experiment()))
    schedule.start("train/r4")
    schedule.stop()
    assert schedule.ready() == [] and not schedule.is_over
    schedule.end("train/r4", State.STOPPED)
    assert schedule.is_over


def on_slurm(one, **data):
    cluster = one.config.cluster.model_copy(update={"scheduler": "slurm"})
    return one.config.model_copy(update={"cluster": cluster, "data": one.config.data.model_copy(update=data)})


def test_on_a_cluster_the_token_cache_is_filled_before_any_training(experiment) -> None:
    one = experiment()
    configs = {cell.id: cell.config for cell in one.cells}.__getitem__
    elements = plan_elements(ROOT, on_slurm(one), full_need(one.cells, 4), configs)
    first, after = elements[0], {element.id: element.after for element in elements}
    assert (first.id, first.argv, first.resources.gpus) == (PREPARE, ("data", "build", "/runs/a b"), 0)
    assert after["train/r4"] == after["train/r8"] == (PREPARE,) and after["predict/baseline/0-1"] == ()
    schedule = Schedule(elements)
    assert [element.id for element in schedule.ready()] == [PREPARE, "predict/baseline/0-1", "predict/baseline/2-3"]
    schedule.end(PREPARE, State.FAILED)
    assert schedule.states["train/r4"] is schedule.states["predict/r8/2-3"] is State.SKIPPED
    trained = plan_elements(ROOT, on_slurm(one), Need((), {"r4": (0,)}, merge=True), configs)
    assert PREPARE not in [element.id for element in trained], "nothing is left that would read it"
    uncached = plan_elements(ROOT, on_slurm(one, cache=False), full_need(one.cells, 4), configs)
    assert uncached[0].id == "train/r4" and uncached[0].after == ()


def test_an_adapter_that_is_there_is_copied_with_what_a_job_without_devices_takes(experiment) -> None:
    one = experiment(cluster={"prepare": {"cpus": 2}})
    nodes = one.config.parallel.model_copy(update={"nodes": 2, "gpus_per_node": 4})
    config = on_slurm(one).model_copy(update={"parallel": nodes})
    taken = config.model_copy(update={"lora": config.lora.model_copy(update={"adapter": "/adapters/r8"})})
    configs = {"r4": config, "r8": taken, "baseline": config}
    found = {e.id: e for e in plan_elements(ROOT, config, full_need(one.cells, 4), configs.__getitem__)}
    learnt, copied = found["train/r4"], found["train/r8"]
    assert (learnt.nodes, learnt.processes, learnt.resources.gpus, learnt.setting) == (2, 4, 4, "cluster.train")
    assert (copied.nodes, copied.processes, copied.resources.gpus, copied.resources.cpus) == (1, 1, 0, 2)
    assert copied.setting == "cluster.prepare" and learnt.after == (PREPARE,) and copied.after == ()
    only = plan_elements(ROOT, config, full_need(one.cells, 4), lambda cell: taken)
    assert PREPARE not in [element.id for element in only], "nothing is learnt that would read the cache"
