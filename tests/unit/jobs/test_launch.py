"""How an element is started: the stage itself, or torchrun around it; and which slots it takes on this machine."""

from __future__ import annotations

import pytest

from jobs import local, machine
from jobs.launch import launched_argv
from jobs.plan import TRAIN, Element
from jobs.schedule import Schedule
from sftlib.config.cluster import Resources
from sftlib.config.launch import Rendezvous
from sftlib.config.tree import SFTConfig
from sftlib.errors import InputError

STAGE = ["python3", "-m", "sftlib", "train", "runs/x", "--cell", "r8"]


def element(name: str = "train/r8", nodes: int = 1, **processes: int) -> Element:
    return Element(name, TRAIN, (TRAIN, "runs/x", "--cell", "r8"), Resources(), nodes=nodes, **processes)


def test_one_process_is_the_stage_itself() -> None:
    assert launched_argv(STAGE) == STAGE


def test_torchrun_understands_what_every_node_is_given() -> None:
    from torch.distributed.run import get_args_parser

    for node_rank in (0, 1):
        meeting = Rendezvous("gpu7", 29871)
        argv = launched_argv(STAGE, nodes=2, processes=4, node_rank=node_rank, rendezvous=meeting)
        assert argv[:3] == ["python3", "-m", "sftlib.train.agent"]
        parsed = get_args_parser().parse_args(argv[3:])
        assert (parsed.nnodes, parsed.nproc_per_node, parsed.node_rank) == ("2", "4", node_rank)
        assert (parsed.master_addr, parsed.master_port, parsed.max_restarts) == ("gpu7", 29871, 0)
        assert parsed.module and parsed.training_script == "sftlib"
        assert parsed.training_script_args == ["train", "runs/x", "--cell", "r8"]


def test_several_nodes_without_a_rendezvous_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="rendezvous"):
        launched_argv(STAGE, nodes=2, processes=4)


def test_an_element_takes_as_many_devices_as_it_has_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = start(monkeypatch, [element("a", processes=2), element("b", processes=2)], ["0", "1", "2"])
    assert taken == {"a": ["0", "1"]}, "b waits for a second device"
    taken = start(monkeypatch, [element("a"), element("b", processes=2)], ["0", "1", "0", "1"])
    assert taken == {"a": ["0"], "b": ["1", "0"]}, "two slots on one device are no two devices"


def test_processes_share_the_cores_where_there_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert start(monkeypatch, [element("a", processes=4), element("b")], [None, None]) == {"a": [None, None]}


def test_workers_of_a_prediction_take_a_slot_each(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [element("a", workers=2), element("b", workers=2)]
    assert start(monkeypatch, both, [None, None, None]) == {"a": [None, None]}, "b waits for a second core"
    assert start(monkeypatch, both, ["0", "1", "0", "1"]) == {"a": ["0", "1"], "b": ["0", "1"]}
    assert start(monkeypatch, both, ["0", "0"]) == {"a": ["0", "0"]}, "they may share a device"
    assert start(monkeypatch, [element("a", workers=4)], [None, None]) == {"a": [None, None]}, "it would never start"


def start(monkeypatch: pytest.MonkeyPatch, elements: list[Element], slots: list[str | None]) -> dict[str, list]:
    monkeypatch.setattr(local, "_submit", lambda submission, element, taken: None)
    board = local._Board(None, Schedule(elements), slots)  # type: ignore[arg-type]
    local._start_ready(board)
    return {name: taken for name, (_, taken) in board.running.items()}


def test_more_processes_than_devices_are_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "devices", lambda: ["0", "1"])
    with pytest.raises(InputError, match=r"this machine has 2: set parallel\.gpus_per_node=2"):
        local.check_fit([element(processes=4)], SFTConfig())
    local.check_fit([element(processes=2)], SFTConfig())
