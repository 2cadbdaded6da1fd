"""List presets, cluster profiles, prompt strategies and templates, each with what it is for."""

from __future__ import annotations

import argparse
import json
import typing
from pathlib import Path
from typing import Any

from jobs.commands.options import add_json
from jobs.tables import shorten, table
from sftlib.config.data import Template
from sftlib.config.layers import names_in
from sftlib.config.yamlfile import read_document
from sftlib.errors import DONE
from sftlib.paths import project_dir

EXAMPLE = """examples:
  sft presets
  sft presets --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    listing = {
        "presets": _documents("configs", "presets"),
        "profiles": _documents("slurm", "profiles"),
        "strategies": _strategies(project_dir("configs") / "prompts"),
        "templates": ", ".join(typing.get_args(Template)),
    }
    print(json.dumps(listing, indent=2) if args.json else "\n".join(_lines(listing)))
    return DONE


def _documents(folder: str, kind: str) -> dict[str, str]:
    root = project_dir(folder) / kind
    return {
        name: str(read_document(root / f"{name}.yaml").values.get("description", "")) for name in names_in(folder, kind)
    }


def _strategies(folder: Path) -> dict[str, dict[str, str]]:
    """File -> strategy -> description."""
    return {
        path.stem: _strategies_in(json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(folder.glob("*.json"))
    }


def _strategies_in(content: dict[str, Any]) -> dict[str, str]:
    return {name: str(strategy.get("description", "")) for name, strategy in content.get("strategies", {}).items()}


def _lines(listing: dict[str, Any]) -> list[str]:
    lines = []
    for title, use in (("presets", "preset: NAME"), ("profiles", "--cluster NAME")):
        rows = [[name, text] for name, text in listing[title].items()]
        lines += [*table([title, f"({use})"], rows, indent=""), ""]
    rows = [
        [file, name, shorten(text, 70)] for file, texts in listing["strategies"].items() for name, text in texts.items()
    ]
    lines += [
        *table(["prompts", "strategies", "(prompt.strategy_file: FILE, prompt.strategy: NAME)"], rows, indent=""),
        "",
    ]
    return [*lines, f"templates  (prompt.template) {listing['templates']}"]
