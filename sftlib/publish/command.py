"""`adapter`: fold an adapter into its base (merge), put an adapter or a merged model on a hub (push)."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from sftlib.config.rundir import Run, open_run
from sftlib.errors import InputError
from sftlib.paths import RunPaths
from sftlib.publish.folding import LEAST_AGREEMENT, RECORDS

HELP = "fold an adapter into its base; publish an adapter or a merged model"
EXAMPLE = """examples:
  sft adapter merge runs/latest --cell r8
  sft adapter merge path/to/adapter --base path/to/base --out path/to/model
  sft adapter push runs/latest --cell r8 --licence apache-2.0
  sft adapter push runs/latest --cell r8 --merged --name me/my-model --public"""
MIB = 1024**2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="merge|push")
    merge = actions.add_parser(
        "merge", help="fold an adapter into the unquantised base, file by file", epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    _target(merge)
    merge.add_argument(
        "--base", type=Path, metavar="DIR", help="folder of the unquantised base (default: the experiment's)"
    )
    merge.add_argument("--out", type=Path, metavar="DIR", help="where the model goes (a run: cells/CELL/merged)")
    merge.add_argument(
        "--records", type=int, default=RECORDS, metavar="N", help="test records that both models answer; 0: none"
    )
    merge.add_argument(
        "--least-agreement",
        type=float,
        default=LEAST_AGREEMENT,
        metavar="SHARE",
        help="share of equal answers (default: 0.95)",
    )
    merge.add_argument(
        "--file-mib", type=int, default=2048, metavar="N", help="largest written file, and so the memory that it takes"
    )
    merge.add_argument(
        "--in-memory", action="store_true", help="PEFT's own merge, for adapters that cannot be folded by tensor"
    )
    push = actions.add_parser(
        "push",
        help="put an adapter or a merged model on a hub",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _target(push)
    push.add_argument("--merged", action="store_true", help="the merged model instead of the adapter")
    push.add_argument("--name", metavar="USER/REPO", help="repository (default: $HF_USERNAME/RUN-CELL)")
    push.add_argument("--public", action="store_true", help="visible to everyone (default: private)")
    push.add_argument(
        "--licence", "--license", dest="licence", metavar="ID", help="licence in the model card, such as apache-2.0"
    )
    push.add_argument("--dry-run", action="store_true", help="print name, files and model card; send nothing")


def _target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, metavar="RUN|ADAPTER", help="run directory, or an adapter's folder")
    parser.add_argument("--cell", help="cell of the run (may be left out where there is one)")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")


def run(arguments: argparse.Namespace) -> int:
    return {"merge": _merge, "push": _push}[arguments.action](arguments)


def _run_and_cell(arguments: argparse.Namespace) -> tuple[Run, str]:
    run = open_run(arguments.target)
    trained = [cell.id for cell in run.cells if not cell.is_baseline]
    if arguments.cell is None and len(trained) > 1:
        raise InputError(f"{arguments.target} has several cells: choose one with --cell: {', '.join(trained)}")
    return run, run.cell(arguments.cell or trained[0]).id


def _merge(arguments: argparse.Namespace) -> int:
    if not RunPaths(arguments.target).record.exists():
        return _merge_folder(arguments)
    if arguments.out:
        raise InputError("--out goes with an adapter's folder; a run keeps its merged models in cells/CELL/merged")
    run, cell = _run_and_cell(arguments)
    from sftlib.artifacts.progress import open_progress
    from sftlib.publish.folding import merge_cell

    with open_progress(run.paths, "fold", cell, 1, "models") as progress:
        progress.update(state="running", force=True)
        record = merge_cell(
            run, cell, base=arguments.base, records=arguments.records, least=arguments.least_agreement,
            in_memory=arguments.in_memory, file_bytes=arguments.file_mib * MIB,
        )  # fmt: skip
        progress.update(done=1)
    told = {**asdict(record), "folder": str(run.paths.cell(cell).merged)}
    agreement = (
        "not compared" if record.agreement is None else f"{record.agreement:.3f} of {record.records} answers equal"
    )
    print(json.dumps(told, indent=2) if arguments.json else f"{cell}: {told['folder']} ({agreement})")
    return 0


def _merge_folder(arguments: argparse.Namespace) -> int:
    """An adapter from anywhere: there is no test set to compare on."""
    if arguments.base is None or arguments.out is None:
        raise InputError(f"{arguments.target} is not a run directory: an adapter's folder needs --base and --out")
    from sftlib.artifacts.atomic import replacing_dir
    from sftlib.models.merging import fold, fold_in_memory

    with replacing_dir(arguments.out) as folder:
        if arguments.in_memory:
            changed = fold_in_memory(arguments.base, arguments.target, folder)
        else:
            changed = fold(arguments.base, arguments.target, folder, file_bytes=arguments.file_mib * MIB)
    told = {"folder": str(arguments.out), "changed": len(changed)}
    print(
        json.dumps(told, indent=2)
        if arguments.json
        else f"{arguments.out}: {len(changed)} weights changed (not compared)"
    )
    return 0


def _push(arguments: argparse.Namespace) -> int:
    from sftlib.publish.pushing import push

    run, cell = _run_and_cell(arguments) if RunPaths(arguments.target).record.exists() else (None, None)
    told = push(
        run, cell, arguments.target, merged=arguments.merged, name=arguments.name, is_public=arguments.public,
        licence=arguments.licence, dry_run=arguments.dry_run,
    )  # fmt: skip
    if arguments.json:
        print(json.dumps(told, indent=2))
    else:
        print(told["card"] if arguments.dry_run else told["url"])
    return 0
