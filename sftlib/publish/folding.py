"""The stage after training that folds a cell's adapter into its base, and proves that it still answers alike."""

from __future__ import annotations

from pathlib import Path

from sftlib.artifacts.adapters import MergedRecord, weights_digest
from sftlib.artifacts.atomic import replacing_dir
from sftlib.config.rundir import Run
from sftlib.errors import InputError, SftError

RECORDS = 64  # test records that both models answer
LEAST_AGREEMENT = 0.95  # rounding moves single answers that stood on the edge; more than that is another model


def merge_cell(
    run: Run, cell: str, *, base: Path | None, records: int, least: float, in_memory: bool, file_bytes: int
) -> MergedRecord:
    """Fold, compare, publish: the merged folder appears only when it answers as base and adapter do."""
    if run.cell(cell).is_baseline:
        raise InputError(f"{cell} is the untouched base model: there is no adapter to merge")
    if reason := run.why_untrained(cell, deep=True):
        raise InputError(f"{cell}: {reason}: sft train {run.paths.typed} --cell {cell}")
    config, paths = run.cell_config(cell), run.paths.cell(cell)
    if not config.lora.enabled:
        raise InputError(f"{cell} was trained whole: {paths.adapter} already is the model")
    from sftlib.models.merging import fold_adapter
    from sftlib.publish.agreement import agreement_on

    parts = run.known_parts(cell)
    with replacing_dir(paths.merged) as folder:
        changed = fold_adapter(config, paths.adapter, folder, base=base, in_memory=in_memory, file_bytes=file_bytes)
        found = agreement_on(run, config, paths, folder, records) if records else None
        if found is not None and found.share < least:
            raise SftError(
                f"{cell}: the merged model gives the same answer on {found.equal} of {found.records} records "
                f"({found.share:.3f}), expected at least {least:g}: nothing was published. A base that was quantised in "
                f"training answers otherwise when it is not: a lower --least-agreement takes it all the same"
            )
        record = MergedRecord(
            cell, str(parts["adapter"]), str(parts["base"]), weights_digest(folder), len(changed),
            found.records if found else 0, found.share if found else None,
        )  # fmt: skip
        record.write(folder)
    return record
