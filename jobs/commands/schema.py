"""The JSON Schema of experiment files, for editors that complete and check; or the same as a page to read."""

from __future__ import annotations

import argparse
import json
import typing
from collections.abc import Iterator
from typing import Any

from sftlib.errors import DONE

EXAMPLE = """examples (VS Code's YAML extension reads the comment in the experiment's first line):
  sft schema > sftlib.schema.json
  # yaml-language-server: $schema=sftlib.schema.json
  sft schema --markdown > docs/experiment.md"""

_INTRODUCTION = """# Every key of an experiment

An experiment is one YAML or JSON file. Values come from a preset (`configs/presets`), then the file, then the cluster
profile (`slurm/profiles`), then `--set KEY=VALUE`; later ones win. `${VAR}` and `${VAR:-default}` are replaced from the
environment; a variable whose name speaks of a secret stays a reference in everything that is written. Relative paths are
looked for beside the file, then in the current folder. Unknown keys are refused.

This page is written by `sft schema --markdown`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--markdown", action="store_true", help="a page to read instead of JSON Schema")


def run(args: argparse.Namespace) -> int:
    from sftlib.config.tree import SFTConfig

    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **SFTConfig.model_json_schema(by_alias=True)}
    print(reference_page() if args.markdown else json.dumps(schema, indent=2))
    return DONE


def reference_page() -> str:
    """All sections as tables."""
    from sftlib.config.tree import SFTConfig

    return "\n".join([_INTRODUCTION, *_section(SFTConfig, "")])


def _section(section: Any, prefix: str) -> Iterator[str]:
    from sftlib.config.problems import section_at

    nested: dict[str, Any] = {}
    yield from [f"## {prefix.rstrip('.') or 'At the top'}", "", "| key | default | meaning |", "|---|---|---|"]
    for name, field in section.model_fields.items():
        key = field.alias or name
        inner = section_at([key], section)
        if inner is not None and inner not in nested.values():
            nested[key] = inner
        if inner is None or field.default_factory is not inner:
            yield f"| `{prefix}{key}` | {_default(field)} | {_cell(field.description)}{_choices(field.annotation)} |"
    yield ""
    for key, inner in nested.items():
        yield from _section(inner, f"{prefix}{key}.")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(field: Any) -> str:
    value = field.default_factory() if field.default_factory else field.default
    return "-" if value in (None, "", [], {}) else f"`{json.dumps(value)}`"


def _choices(annotation: Any) -> str:
    """The values of an enumeration that the description does not list itself."""
    if typing.get_origin(annotation) is not typing.Literal:
        return ""
    return "; one of " + ", ".join(f"`{value}`" for value in typing.get_args(annotation))
