"""Options that several commands share, and the experiment that they name."""

from __future__ import annotations

import argparse
from pathlib import Path

from sftlib.config.load import Experiment, load_experiment

RUNS_DIR = Path("runs")


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """EXP, --cluster, --set, --runs-dir."""
    parser.add_argument("experiment", metavar="EXP", type=Path, help="experiment file (YAML or JSON)")
    parser.add_argument(
        "--cluster",
        metavar="PROFILE",
        help="name in slurm/profiles or path (default: local, or slurm where there is sbatch)",
    )
    parser.add_argument(
        "--set", metavar="KEY=VALUE", dest="settings", action="append", default=[],
        help="set a dotted key; several values with commas make a sweep; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--subset", metavar="N", type=int,
        help="test on N records, stratified by group, label and source (data.test.subset)",
    )  # fmt: skip
    parser.add_argument(
        "--runs-dir", metavar="DIR", type=Path, default=RUNS_DIR, help="where run directories go (default: runs)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def load(args: argparse.Namespace) -> Experiment:
    """The experiment that the arguments name; raises ConfigError with everything that is wrong with it."""
    return load_experiment(args.experiment, given_settings(args), args.cluster)


def given_settings(args: argparse.Namespace) -> list[str]:
    """The settings as they were typed, with `--subset` as the setting that it is short for."""
    subset = [f"data.test.subset={args.subset}"] if args.subset is not None else []
    return [*args.settings, *subset]
