"""Every name inside a run directory, and where the project's own files lie. No other file spells these names."""

from __future__ import annotations

import os
import shlex
import sysconfig
from dataclasses import dataclass
from pathlib import Path

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_CARD = "README.md"
ADAPTER_RECORD = "sftlib.json"  # what the adapter was trained as: fingerprints that prediction must meet
MERGED_RECORD = "sftlib-merged.json"  # what a merged model was made of, and how alike it answers
CHAT_TEMPLATE = "chat_template.jinja"
CHECKPOINT_PREFIX = "checkpoint-"
CHECKPOINT_MARK = "sftlib-complete.json"  # written last; a checkpoint without it is never resumed


def project_dir(name: str) -> Path:
    """A top-level folder of the project (`configs`, `slurm`, ...): beside the source, or installed with the wheel."""
    beside = Path(__file__).resolve().parent.parent / name
    return beside if beside.is_dir() else Path(sysconfig.get_path("data")) / "share" / "sftlib" / name


def cache_dir() -> Path:
    """Models and token caches: $SFTLIB_CACHE, or the user's cache folder."""
    named = os.environ.get("SFTLIB_CACHE")
    base = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sftlib"
    return base.expanduser().absolute()


def datasets_dir(hub: str) -> Path:
    """What was fetched of a Hub data set: a folder for each commit, and refs/NAME -> commit."""
    return cache_dir() / "datasets" / hub.replace("/", "--")


def staged_manifests() -> Path:
    """What `sft stage` put into the cache, a file for each model, tokenizer and data set."""
    return cache_dir() / "staged"


def token_cache() -> Path:
    """Tokenised splits, an entry a folder."""
    return cache_dir() / "tokens"


@dataclass(frozen=True)
class TokenPaths:
    """One entry of the token cache: flat arrays and what they are."""

    root: Path

    @property
    def header(self) -> Path:
        return self.root / "entry.json"

    @property
    def ids(self) -> Path:
        return self.root / "ids.int32"

    @property
    def supervised(self) -> Path:
        return self.root / "supervised.bool"

    @property
    def offsets(self) -> Path:
        return self.root / "offsets.int64"

    @property
    def arrays(self) -> tuple[Path, ...]:
        return self.ids, self.supervised, self.offsets


def hub_cache() -> Path:
    """Where `sft stage` puts models of the Hub: by the Hub library's own variables, so that both look in one place."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser().absolute()


def hub_snapshots(name: str) -> Path:
    """The folder of a Hub model's staged revisions."""
    return hub_cache() / f"models--{name.replace('/', '--')}" / "snapshots"


@dataclass(frozen=True)
class CellPaths:
    """One cell: one combination of the sweep, or the baseline."""

    root: Path

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def adapter(self) -> Path:
        return self.root / "adapter"

    @property
    def adapter_record(self) -> Path:
        return self.adapter / ADAPTER_RECORD

    @property
    def merged(self) -> Path:
        """The adapter folded into its base (train.save_merged_model, sft adapter merge)."""
        return self.root / "merged"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.root / "tensorboard"

    @property
    def loggers(self) -> Path:
        """Files of W&B, MLflow and trackio."""
        return self.root / "loggers"

    @property
    def samples(self) -> Path:
        """Answers to validation records, a line each."""
        return self.root / "samples.jsonl"

    @property
    def convergence(self) -> Path:
        return self.root / "convergence.png"

    @property
    def summary(self) -> Path:
        return self.root / "summary.json"

    @property
    def predictions(self) -> Path:
        return self.root / "predictions"

    def shard(self, index: int, count: int) -> Path:
        return self.predictions / f"part-{index:05d}-of-{count:05d}.parquet"

    def shard_manifest(self, index: int, count: int) -> Path:
        return self.shard(index, count).with_suffix(".json")

    def shard_claim(self, index: int, count: int, take: int) -> Path:
        """Who works on the shard: the first to take it, and whoever took it over. No `part-*` glob matches."""
        return self.predictions / f".{self.shard(index, count).stem}.claim-{take}"

    @property
    def decision(self) -> Path:
        """Calibration and threshold, fitted on validation."""
        return self.root / "decision.json"


@dataclass(frozen=True)
class ReportPaths:
    """What the last job writes."""

    root: Path

    @property
    def predictions(self) -> Path:
        return self.root / "predictions.parquet"

    @property
    def metrics_csv(self) -> Path:
        return self.root / "metrics.csv"

    @property
    def bias_csv(self) -> Path:
        return self.root / "bias.csv"

    @property
    def metrics_json(self) -> Path:
        return self.root / "metrics.json"

    @property
    def text(self) -> Path:
        return self.root / "report.txt"

    @property
    def html(self) -> Path:
        return self.root / "report.html"


@dataclass(frozen=True)
class RunPaths:
    """One run directory: runs/NAME-HASH."""

    root: Path

    @property
    def typed(self) -> str:
        """The folder as one types it behind a command: a blank in a path is common on a home disk."""
        return shlex.quote(str(self.root))

    @property
    def record(self) -> Path:
        return self.root / "run.json"

    @property
    def audit(self) -> Path:
        """What the audit found in the data before anything was trained."""
        return self.root / "audit.json"

    @property
    def cells(self) -> Path:
        return self.root / "cells"

    def cell(self, name: str) -> CellPaths:
        return CellPaths(self.cells / name)

    @property
    def report(self) -> ReportPaths:
        return ReportPaths(self.root / "report")

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    def attempt(self, number: int) -> Path:
        """Specs, scripts and logs of one submission; an attempt's folder is never written again by a later one."""
        return self.jobs / f"attempt-{number:03d}"

    def code(self, digest: str) -> Path:
        """The frozen source that the elements run, whatever happens to the working tree."""
        return self.jobs / f"code-{digest}"

    @property
    def progress(self) -> Path:
        return self.jobs / "progress"

    def element_progress(self, element: str) -> Path:
        return self.progress / f"{file_name(element)}.json"

    @property
    def verified(self) -> Path:
        """Of a repetition: how far it is equal to the run that it repeats."""
        return self.root / "verified.json"

    @property
    def queue(self) -> Path:
        """What Slurm last said of this run's jobs, so that no two commands ask within half a minute."""
        return self.jobs / "queue.json"

    @property
    def driver(self) -> Path:
        """Who is driving this run on this machine (local profile)."""
        return self.jobs / "driver.json"


def file_name(element: str) -> str:
    """The element's id as a file name: `predict/r8/0-3` -> `predict.r8.0-3`."""
    return element.replace("/", ".")


def latest_link(runs_dir: Path) -> Path:
    return runs_dir / "latest"
