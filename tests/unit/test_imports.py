"""Who may import whom (DESIGN.md section 1), read off the source: nothing is imported to find out."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
FILES = sorted(path for package in ("jobs", "sftlib") for path in (PROJECT / package).rglob("*.py"))

BASE = {"sftlib", "sftlib.errors"}
MIDDLE = {"sftlib.config", "sftlib.paths", "sftlib.artifacts"}
TOOLS = {"sftlib.data", "sftlib.models", "sftlib.metrics", "sftlib.convergence"}
# Part -> the other parts of sftlib that it may import. `errors` <- `config, paths, artifacts` <- `data, models, metrics, convergence`
# <- `train | infer` <- `report`.
MAY_IMPORT = {
    "sftlib.errors": {"sftlib"},
    "sftlib.paths": BASE | MIDDLE,
    "sftlib.config": BASE | MIDDLE,
    "sftlib.artifacts": BASE | MIDDLE,
    "sftlib.data": BASE | MIDDLE | TOOLS,
    "sftlib.models": BASE | MIDDLE | TOOLS,
    "sftlib.metrics": BASE | MIDDLE | TOOLS,
    "sftlib.convergence": BASE | MIDDLE | TOOLS,
    "sftlib.train": BASE | MIDDLE | TOOLS,
    "sftlib.infer": BASE | MIDDLE | TOOLS,
    "sftlib.report": BASE | MIDDLE | TOOLS,
    "sftlib.publish": BASE | MIDDLE | TOOLS | {"sftlib.infer"},  # a merged model must answer as base and adapter do
}
JOBS_MAY_IMPORT = {"jobs", "sftlib", "pydantic", "yaml", "submitit"}
HEAVY = {"torch", "transformers", "datasets", "pandas"}
LIGHT = {"jobs", "sftlib.errors", "sftlib.paths", "sftlib.config", "sftlib.artifacts", "sftlib.metrics"}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Each imported module's full name, and whether the import stands at module level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(outer)
    }
    typing_only = {id(node) for outer in ast.walk(tree) if _is_type_checking(outer) for node in ast.walk(outer)}
    for node in ast.walk(tree):
        is_top = id(node) not in inner | typing_only
        if isinstance(node, ast.Import):
            yield from ((alias.name, is_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = f"{_package(path, node.level)}.{node.module or ''}".strip(".") if node.level else str(node.module)
            # `from sftlib import paths` names a module; `from sftlib.paths import RunPaths` does not.
            yield from ((f"{module}.{alias.name}" if module == "sftlib" else module, is_top) for alias in node.names)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _package(path: Path, level: int) -> str:
    parts = path.relative_to(PROJECT).parts[:-1]
    return ".".join(parts[: len(parts) - level + 1])


def part_of(module: str) -> str:
    """`sftlib.config.load` -> `sftlib.config`; names that `sftlib` itself holds -> `sftlib`."""
    first, _, rest = module.partition(".")
    part = f"{first}.{rest.partition('.')[0]}" if rest else first
    return part if part in MAY_IMPORT or first != "sftlib" else "sftlib"


def part_of_file(path: Path) -> str:
    return part_of(".".join(path.relative_to(PROJECT).with_suffix("").parts))


def name(path: Path) -> str:
    return str(path.relative_to(PROJECT))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_layers(path: Path) -> None:
    if path.parts[len(PROJECT.parts)] == "jobs":
        return _check_jobs(path)
    roots = {module.partition(".")[0] for module, _ in imports(path)}
    assert not roots & {"jobs", "submitit"}, "the run side knows nothing of the submit side"
    part = part_of_file(path)
    if part in MAY_IMPORT:
        used = {part_of(module) for module, _ in imports(path) if module.partition(".")[0] == "sftlib"}
        assert used <= MAY_IMPORT[part] | {part}


def _check_jobs(path: Path) -> None:
    for module, is_top in imports(path):
        root = module.partition(".")[0]
        assert root in JOBS_MAY_IMPORT or root in sys.stdlib_module_names, f"{module} is not for the submit side"
        if root == "sftlib":
            assert part_of(module) in BASE | MIDDLE, f"{module} is of the run side"
        assert not (is_top and root == "submitit"), "submitit is imported when something is submitted, not before"


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if part_of_file(path).split(".")[0] == "jobs" or part_of_file(path) in LIGHT],
    ids=name,
)
def test_nothing_heavy_above_the_line(path: Path) -> None:
    heavy = {module for module, is_top in imports(path) if is_top and module.partition(".")[0] in HEAVY}
    assert not heavy
