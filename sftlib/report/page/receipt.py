"""What would have to be equal for this run to repeat: versions, seeds and hashes, from run.json and the summaries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from sftlib.report.attachments import Attachments
from sftlib.report.page.markup import cell_name, folded, section
from sftlib.report.page.numbers import Numbers

_LEADING = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "bitsandbytes",
    "vllm",
    "numpy",
    "pyarrow",
)


def receipt_section(numbers: Numbers, attached: Attachments) -> str:
    settings = json.dumps(attached.settings, indent=2, ensure_ascii=False)
    parts = [
        _list(attached.receipt), _hashes(numbers),
        folded("Machines", _list(attached.machines)) if attached.machines else "",
        folded("Packages", _packages(attached.packages)) if attached.packages else "",
        folded("Settings, every default filled in", f"<pre>{escape(settings)}</pre>"),
    ]  # fmt: skip
    return section("receipt", "Receipt", "What would have to be equal for these figures to repeat.", *parts)


def _list(lines: Mapping[str, Any]) -> str:
    return (
        '<dl class="receipt">'
        + "".join(
            f"<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>"
            for name, value in lines.items()
            if value is not None
        )
        + "</dl>"
    )


def _hashes(numbers: Numbers) -> str:
    """What each cell's predictions were made with."""
    rows = []
    for cell in numbers.cells:
        parts = numbers.get("coverage", "cells", cell, "parts") or {}
        known = {"fingerprint": numbers.get("coverage", "cells", cell, "fingerprint"), **parts}
        if shown := {name: value for name, value in known.items() if value}:
            rows.append(f"<h3>{cell_name(numbers, cell)}</h3>{_list(shown)}")
    return folded("Hashes of each cell's predictions", "".join(rows)) if rows else ""


def _packages(packages: Mapping[str, Any]) -> str:
    order = [name for name in _LEADING if name in packages] + [name for name in packages if name not in _LEADING]
    return f'<p class="packages">{" ".join(f"<code>{escape(name)} {escape(str(packages[name]))}</code>" for name in order)}</p>'
