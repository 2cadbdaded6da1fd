"""SFTConfig: the whole experiment, as its file says it and defaults fill it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sftlib.config.base import Section, knob, knobs
from sftlib.config.cluster import ClusterSection, ContainerSection
from sftlib.config.data import DataSection, PromptSection, TaskSection
from sftlib.config.model import LoraSection, ModelSection
from sftlib.config.predict import PredictSection, ReportSection
from sftlib.config.train import ParallelSection, SweepSection, TrainSection


class SFTConfig(Section):
    """An experiment: data in, a sweep of adapters, predictions and a report out."""

    name: str = knob("experiment", "names the run directory", pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._'-]{0,63}$")
    description: str = knob("", "shown at the top of the report")
    preset: str = knob("default", "values to start from: a name in configs/presets or a path")
    data: DataSection = knobs("which records", DataSection)
    prompt: PromptSection = knobs("how a record becomes a prompt", PromptSection)
    task: TaskSection = knobs("what is asked for and how an answer is read", TaskSection)
    model: ModelSection = knobs("the base model", ModelSection)
    lora: LoraSection = knobs("the adapter", LoraSection)
    train: TrainSection = knobs("the optimisation", TrainSection)
    parallel: ParallelSection = knobs("processes that train one cell together", ParallelSection)
    sweep: SweepSection = knobs("which cells", SweepSection)
    predict: PredictSection = knobs("how the test set is answered", PredictSection)
    report: ReportSection = knobs("what is computed at the end", ReportSection)
    cluster: ClusterSection = knobs("where elements run", ClusterSection)
    container: ContainerSection = knobs("in which image", ContainerSection)

    @classmethod
    def from_file(cls, path: str | Path, overrides: list[str] | None = None, profile: str | None = None) -> SFTConfig:
        """Read an experiment (YAML or JSON); raises ConfigError with every problem found."""
        from sftlib.config.load import load_experiment

        return load_experiment(Path(path), overrides or [], profile).config

    @property
    def prediction_method(self) -> str:
        """`score` or `generate`, where `predict.method` leaves it open too."""
        if self.predict.method != "auto":
            return self.predict.method
        return "score" if self.task.type == "classification" else "generate"

    from_yaml = from_file
    from_json = from_file

    def to_dict(self) -> dict[str, Any]:
        """The tree as plain JSON values, every default filled in."""
        return self.model_dump(mode="json", by_alias=True)
