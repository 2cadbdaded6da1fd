"""Sections `data`, `prompt` and `task`: what is learnt from, how a record becomes tokens, what an answer means."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, field_validator

from sftlib.config.base import Section, knob, knobs
from sftlib.config.values import value_text

Format = Literal[
    "auto", "messages", "sharegpt", "alpaca", "columns", "prompt_completion", "text", "formatting_func", "labelled"
]

Template = Literal["auto", "tokenizer", "chatml", "plain", "zephyr", "llama3", "harmony", "alpaca", "instruction"]

# What the audit stops a run for, and a person may know better; a stage could not go on over the others (empty, double_bos, overlong).
AuditError = Literal[
    "leakage", "unparsable_target", "giveaway", "prompt_mismatch", "missing_class", "no_supervised_token",
    "eos_not_learnt",
]  # fmt: skip


class Source(Section):
    """Where the records of one split come from: exactly one of `path` and `hub`, or neither for a part of train."""

    path: str | None = knob(None, "JSON, JSONL, CSV or Parquet file, a folder of them, or a folder saved by datasets")
    hub: str | None = knob(None, "data set id on the Hugging Face Hub; fetched by `sft stage` where there is internet")
    revision: str | None = knob(None, "commit or tag of the Hub data set; pins what was trained on")
    config: str | None = knob(None, "configuration name of the Hub data set")
    split: str | None = knob(None, "split of the Hub data set or saved folder")
    where: dict[str, str | int | float | bool] = knobs(
        "keep records whose field equals the value; what it drops is counted"
    )
    subset: int | None = knob(None, "number of records of a quick, deterministic, stratified subset", ge=1)
    subset_by: Literal["strata", "length"] = knob(
        "strata", "stratify the subset by group, label and source, or by text length"
    )


def _source(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


SourceField = Annotated[Source, BeforeValidator(_source)]


class DataSection(Section):
    """Which records, in which format, split how."""

    train: SourceField | None = knob(None, "training records: a path, or {path|hub, ...}")
    validation: SourceField | None = knob(None, "validation records (loss, early stopping, thresholds)")
    test: SourceField | None = knob(None, "test records, predicted by every cell")
    format: Format = knob("auto", "how a record is read; auto looks at the fields of the first records")
    validation_size: int | float | None = knob(
        None, "split off train for validation: a count, or a fraction below 1", gt=0
    )
    test_size: int | float | None = knob(None, "split off train for test: a count, or a fraction below 1", gt=0)
    sample_size: int | None = knob(None, "train on this many records only (seeded)", ge=1)
    stratify: list[str] = knobs("columns by which splits and samples are stratified", list)
    seed: int = knob(0, "seed of splits, samples and subsets", ge=0)
    faulty: Literal["error", "drop"] = knob(
        "error", "records that are not what the format says: refuse the data, or leave them out and count them"
    )
    id_column: str | None = knob(None, "field with a unique sample id; default: original_id, id, or the position")
    text_column: str = knob("text", "field with the text (formats labelled and text)")
    label_column: str = knob("label", "field with the gold label (format labelled)")
    group_columns: list[str] = knobs("fields whose values are compared for bias", list)
    source_column: str | None = knob(None, "field with the origin of a record; rates are stratified by it")
    original_label_column: str | None = knob(None, "field with the finer label; rates are stratified by it")
    instruction_column: str = knob("instruction", "field with the instruction (formats alpaca and columns)")
    input_column: str | None = knob("input", "field with the optional input (formats alpaca and columns)")
    output_column: str = knob("output", "field with the answer to learn (formats alpaca and columns)")
    prompt_column: str = knob("prompt", "field with the prompt (format prompt_completion)")
    completion_column: str = knob("completion", "field with the completion (format prompt_completion)")
    messages_column: str = knob("messages", "field with the messages (format messages)")
    conversations_column: str = knob("conversations", "field with the turns (format sharegpt)")
    formatting_func: str | None = knob(
        None, "module:function, beside the experiment or installed, that turns a record into text, messages or fields"
    )
    formatting_batched: bool = knob(False, "formatting_func takes a dict of columns (lists) and gives one back")
    text_is_rendered: bool = knob(
        False, "texts (format text, formatting_func) hold the template's own control tokens: read them as such"
    )
    streaming: bool = knob(
        False, "read records as they are needed and keep none (train, validation); for millions of records"
    )
    workers: int = knob(0, "processes that tokenise, each with one thread; 0: one per core", ge=0)
    accept: list[AuditError] = knobs(
        "audit errors that shall not stop the run: they stay in the report as warnings", list
    )
    cache: bool = knob(
        True, "keep tokenised records in a cache that is named by content; off: each training tokenises anew"
    )


class PromptSection(Section):
    """How a record becomes a prompt: the same for training and for prediction."""

    template: Template = knob("auto", "chat template; auto takes the tokenizer's own where it has one")
    template_file: str | None = knob(None, "your own Jinja chat template")
    template_arguments: dict[str, str | int | float | bool] = knobs(
        "further variables of the chat template, such as enable_thinking: false or reasoning_effort: low"
    )
    date: str = knob(
        "2025-01-01",
        "the day that a template prints as today's (YYYY-MM-DD); fixed, so that training and prediction agree",
        pattern=r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$",
    )
    strategy_file: str | None = knob(None, "JSON file with strategies: a path, or a name in configs/prompts")
    strategy: str | None = knob(None, "name of the strategy in strategy_file")
    system: str | None = knob(None, "system prompt; overrides the strategy's")
    user: str | None = knob(None, "user template with {text} and other fields of the record; overrides the strategy's")


class TaskSection(Section):
    """What is asked for, and how an answer is read."""

    type: Literal["classification", "generation"] = knob(
        "generation", "classification has labels; generation is open-ended"
    )
    labels: list[str] = knobs(
        "the label values, as in label_column; numbers, true and false count as their texts", list
    )
    positive: str | None = knob(None, "the label that counts as positive in precision, recall, FPR and FNR")
    target: Literal["label", "json"] = knob("label", "what is learnt: the bare label, or an object with json_key")
    json_key: str = knob("classification", "key of the label in a JSON answer")
    verbalizers: dict[str, str] = knobs("label -> the text that stands for it in an answer; default: the label itself")
    aliases: dict[str, list[str]] = knobs(
        "label -> further spellings that the parser accepts (exact, case ignored); default for the labels hate and normal: "
        "hateful, hate_speech; benign, not_hate"
    )

    @field_validator("labels", "positive", "verbalizers", "aliases", mode="before")
    @classmethod
    def _in_words(cls, value: Any) -> Any:
        """`labels: [0, 1]` and `[true, false]` are texts once they stand in a prompt."""
        if isinstance(value, dict):
            return {cls._in_words(key): cls._in_words(item) for key, item in value.items()}
        if isinstance(value, list):
            return [cls._in_words(item) for item in value]
        return value_text(value) if isinstance(value, bool | int | float) else value
