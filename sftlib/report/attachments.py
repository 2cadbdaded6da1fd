"""What the page shows beside metrics.json: a run's records come in, loss curves and the receipt go out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sftlib.config.rundir import Run
from sftlib.report.audited import read_audit
from sftlib.report.training import training_curves, training_receipt

Curves = dict[str, dict[str, list[tuple[float, float]]]]  # cell -> quantity -> (step, value)


@dataclass(frozen=True)
class Attachments:
    """Nothing here is a result: results are in metrics.json."""

    receipt: dict[str, Any]
    settings: dict[str, Any]
    curves: Curves = field(default_factory=dict)
    machines: dict[str, str] = field(default_factory=dict)
    packages: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] | None = None  # audit.json; {}: a run that was not audited; None: no data to audit


def attachments_of(run: Run) -> Attachments:
    """Everything about a run that its page shows and its metrics do not hold."""
    receipts = {cell.id: training_receipt(run, cell.id) for cell in run.cells}
    return Attachments(
        receipt=_receipt(run),
        settings=run.record["config"],
        curves={cell.id: training_curves(run, cell.id) for cell in run.cells},
        machines=_machines(run, receipts),
        audit=read_audit(run) or {},
        packages=next((found for receipt in receipts.values() if (found := receipt.get("packages"))), {}),
    )


def _receipt(run: Run) -> dict[str, Any]:
    receipt, seeds = run.record["receipt"] or {}, run.config
    code = receipt.get("code") or {}
    return {
        "Run directory": run.paths.root.name,
        "Created": run.record["created"],
        "sftlib": run.record["sftlib"],
        "Code": code.get("sha256"),
        "Git commit": code.get("git_commit"),
        "Changes to the commit": code.get("git_diff_sha256"),
        "Experiment": receipt.get("experiment_sha256"),
        "Base model": run.config.model.name_or_path,
        "Seeds": f"train {seeds.train.seed}, data {seeds.data.seed}, predict {seeds.predict.seed}, report {seeds.report.seed}",
        **{
            f"Data: {name}": f"{split['count']:,} records, sha256 {split['sha256']}"
            for name, split in run.inputs.items()
        },
    }


def _machines(run: Run, receipts: dict[str, dict[str, Any]]) -> dict[str, str]:
    known = {"submitted from": (run.record["receipt"] or {}).get("submit_host")}
    known |= {cell: receipt.get("machine") for cell, receipt in receipts.items()}
    return {
        name: ", ".join(f"{key} {value}" for key, value in machine.items() if value is not None)
        for name, machine in known.items()
        if machine
    }
