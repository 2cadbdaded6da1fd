"""What would have to be equal for this run to repeat: versions, seeds and hashes, from run.json and the summaries."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from sftlib.config.rundir import Run
from sftlib.report.page.markup import cell_name, folded, section
from sftlib.report.page.numbers import Numbers
from sftlib.report.training import training_receipt

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


def receipt_section(numbers: Numbers, run: Run) -> str:
    receipt = run.record["receipt"] or {}
    code = receipt.get("code") or {}
    lines = {
        "Run directory": run.paths.root.name,
        "Created": run.record["created"],
        "sftlib": run.record["sftlib"],
        "Code": code.get("sha256"),
        "Git commit": code.get("git_commit"),
        "Changes to the commit": code.get("git_diff_sha256"),
        "Experiment": receipt.get("experiment_sha256"),
        "Base model": run.config.model.name_or_path,
        "Seeds": f"train {run.config.train.seed}, data {run.config.data.seed}, predict {run.config.predict.seed}, report {run.config.report.seed}",
        **{
            f"Data: {name}": f"{split['count']:,} records, sha256 {split['sha256']}"
            for name, split in run.inputs.items()
        },
    }
    machines = _machines(run)
    parts = [
        _list(lines), _hashes(numbers),
        folded("Machines", _list(machines)) if machines else "",
        folded("Packages", _packages(run)) if _packages(run) else "",
        folded("Experiment, every default filled in", f"<pre>{escape(json.dumps(run.record['config'], indent=2, ensure_ascii=False))}</pre>"),
    ]  # fmt: skip
    return section("receipt", "Receipt", "What would have to be equal for this run to repeat.", *parts)


def _list(lines: dict[str, Any]) -> str:
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
        shown = {"fingerprint": numbers.get("coverage", "cells", cell, "fingerprint"), **parts}
        rows.append(
            f"<h3>{cell_name(numbers, cell)}</h3>{_list({name: value for name, value in shown.items() if value})}"
        )
    return folded("Hashes of each cell's predictions", "".join(rows))


def _machines(run: Run) -> dict[str, str]:
    known = {cell.id: training_receipt(run, cell.id).get("machine") for cell in run.cells}
    known = {"submitted from": (run.record["receipt"] or {}).get("submit_host"), **known}
    return {
        name: ", ".join(f"{key} {value}" for key, value in machine.items() if value is not None)
        for name, machine in known.items()
        if machine
    }


def _packages(run: Run) -> str:
    packages: dict[str, Any] = next(
        (p for cell in run.cells if (p := training_receipt(run, cell.id).get("packages"))), {}
    )
    order = [name for name in _LEADING if name in packages] + [name for name in packages if name not in _LEADING]
    return (
        f'<p class="packages">{" ".join(f"<code>{escape(name)} {escape(str(packages[name]))}</code>" for name in order)}</p>'
        if packages
        else ""
    )
