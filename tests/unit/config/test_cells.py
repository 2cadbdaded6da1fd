"""The sweep: which cells, how they are called, and that each has a typed tree of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftlib.config.load import load_experiment
from tests.posts import write_experiment


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_experiment(tmp_path, "some/model")


def ids(path: Path, *overrides: str) -> list[str]:
    return [cell.id for cell in load_experiment(path, list(overrides), "local").cells]


def test_no_sweep_is_one_cell_and_the_baseline(good: Path) -> None:
    assert ids(good) == ["main", "baseline"]
    assert ids(good, "predict.baseline=false") == ["main"]


def test_a_grid_has_every_combination_with_readable_ids(good: Path) -> None:
    found = ids(good, "sweep.grid={lora.r: [8, 16], train.learning_rate: [1e-4, 2e-3]}")
    assert found == ["r8-lr0.0001", "r8-lr0.002", "r16-lr0.0001", "r16-lr0.002", "baseline"]


def test_a_list_names_its_cells_and_seeds_multiply(good: Path) -> None:
    found = ids(good, "sweep.list=[{id: small, lora.r: 2}, {id: large, lora.r: 64}]", "sweep.seeds=[0, 1]")
    assert found == ["small-s0", "small-s1", "large-s0", "large-s1", "baseline"]


def test_random_draws_are_seeded_and_within_their_space(good: Path) -> None:
    space = "sweep.random={train.learning_rate: {log_uniform: [1e-5, 1e-3]}, lora.r: {choice: [4, 8]}}"
    first = load_experiment(good, [space, "sweep.draws=5"], "local").trained_cells
    again = load_experiment(good, [space, "sweep.draws=5"], "local").trained_cells
    other = load_experiment(good, [space, "sweep.draws=5", "sweep.draw_seed=1"], "local").trained_cells
    assert (
        [cell.overrides for cell in first] == [cell.overrides for cell in again] != [cell.overrides for cell in other]
    )
    assert all(1e-5 <= cell.config.train.learning_rate <= 1e-3 and cell.config.lora.r in (4, 8) for cell in first)
    assert len({cell.id for cell in first}) == 5


def test_cells_differ_only_in_what_is_swept(good: Path) -> None:
    small, large, baseline = load_experiment(good, ["sweep.grid={lora.r: [8, 16]}"], "local").cells
    assert (small.config.lora.r, large.config.lora.r) == (8, 16)
    assert small.config.train == large.config.train
    assert small.digest != large.digest and baseline.is_baseline


def test_values_that_look_alike_still_get_ids_of_their_own(good: Path) -> None:
    found = ids(good, "sweep.grid={lora.target_modules: [[q_proj], [q], [q_proj, v_proj]]}")
    assert len(set(found)) == 4 and "tmq+v" in found


def test_each_prompt_has_its_own_baseline(good: Path) -> None:
    experiment = load_experiment(
        good, ["prompt.strategy_file=hate_speech", "sweep.grid={prompt.strategy: [simple, combined_focused]}"], "local"
    )
    cells = {cell.id: cell.config for cell in experiment.cells}
    assert set(cells) == {"simple", "combined_focused", "baseline-simple", "baseline-combined_focused"}
    assert cells["combined_focused"].prompt.user != cells["simple"].prompt.user
    assert cells["baseline-combined_focused"].prompt == cells["combined_focused"].prompt


def test_a_cell_called_baseline_does_not_pass_for_it(good: Path) -> None:
    found = ids(good, "sweep.list=[{id: baseline, lora.r: 2}]")
    assert len(set(found)) == 2 and found[-1] == "baseline"


def test_ids_are_safe_names(good: Path) -> None:
    (name, _) = ids(good, "sweep.list=[{id: '../../etc/ä b', lora.r: 2}]")
    assert "/" not in name and " " not in name and not name.startswith(".")


def test_the_digest_ignores_where_and_how_wide_it_runs(good: Path) -> None:
    def digest(*overrides: str) -> str:
        return load_experiment(good, list(overrides), "local").cells[0].digest

    same = digest()
    assert digest("cluster.slots=2") == digest("predict.num_shards=7") == digest("description=other") == same
    assert digest("train.seed=1") != same != digest("prompt.system=other")
