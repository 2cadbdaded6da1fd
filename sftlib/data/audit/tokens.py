"""What only tokens show: a record without anything to learn, answers without an end, two BOS, too long; and all lengths."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sftlib.config.references import BUNDLED, bundled_model
from sftlib.config.tree import SFTConfig
from sftlib.data.audit.entries import Entry, Part, by_class, by_group, places
from sftlib.data.audit.findings import ERROR, WARNING, Finding, listed, percent, shares
from sftlib.data.rendering import IGNORED, Renderer, TrainingRow
from sftlib.errors import DataError, InputError

# Tokenizers that are what their tokenizer.json says; others may be changed by their class when they are loaded.
_PLAIN_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend", "GPT2Tokenizer", "GPT2TokenizerFast")
_CHUNK = 1024  # records rendered at once: their ids are forgotten before the next
_POLICIES = {"drop": "are dropped", "truncate_prompt": "lose the beginning of their prompt"}


@dataclass
class Lengths:
    """The rows of one split in tokens, and the entries that a check struck."""

    tokens: list[int] = field(default_factory=list)
    unsupervised: list[Entry] = field(default_factory=list)
    endless: list[Entry] = field(default_factory=list)
    twice: list[Entry] = field(default_factory=list)
    overlong: list[Entry] = field(default_factory=list)
    unrendered: list[tuple[Entry, str]] = field(default_factory=list)


def load_light_tokenizer(config: SFTConfig) -> Any:
    """The experiment's tokenizer out of files that are here; without torch where its class adds nothing to its files."""
    folder = _tokenizer_folder(config)
    if _class_of(folder) in _PLAIN_CLASSES:
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(str(folder))
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=config.model.trust_remote_code)


def _tokenizer_folder(config: SFTConfig) -> Path:
    """Nothing is fetched: a login node may have no internet, and a hub that does not answer costs a minute."""
    given = config.model.tokenizer or config.model.name_or_path
    folder = bundled_model(given.removeprefix(BUNDLED)) if given.startswith(BUNDLED) else Path(given)
    if folder.is_dir():
        return folder
    if not given.startswith(BUNDLED):
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(given, "tokenizer.json", revision=config.model.revision)
        if isinstance(cached, str):
            return Path(cached).parent
    raise InputError(f"the tokenizer of {given} is not here: sft stage EXPERIMENT fetches it")


def _class_of(folder: Path) -> str | None:
    try:
        return json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("tokenizer_class")
    except (OSError, ValueError):
        return None


def measure(part: Part, renderer: Renderer) -> Lengths:
    """Render every record as training does and look at the labels."""
    found = Lengths()
    learnt = [entry for entry in part.entries if entry.sample.target is not None]
    stops = set(renderer.stop_ids)
    for start in range(0, len(learnt), _CHUNK):
        for entry, row in _rows(renderer, learnt[start : start + _CHUNK]):
            if isinstance(row, str):
                found.unrendered.append((entry, row))
            else:
                _look(found, entry, row, renderer, stops)
    return found


def _rows(renderer: Renderer, entries: list[Entry]) -> Iterator[tuple[Entry, TrainingRow | str]]:
    """Each record with its row, or why it has none: halves are tried until the bad ones stand alone."""
    try:
        yield from zip(entries, renderer.rows([entry.sample for entry in entries]), strict=True)
    except DataError as error:
        if len(entries) == 1:
            yield entries[0], str(error)
            return
        middle = len(entries) // 2
        yield from _rows(renderer, entries[:middle])
        yield from _rows(renderer, entries[middle:])


def _look(found: Lengths, entry: Entry, row: TrainingRow, renderer: Renderer, stops: set[int]) -> None:
    found.tokens.append(len(row.ids))
    if row.labels.count(IGNORED) == len(row.labels):
        found.unsupervised.append(entry)
    elif row.labels[-1] not in stops:
        found.endless.append(entry)
    bos = renderer.tokenizer.bos_token_id
    if bos is not None and len(row.ids) > 1 and row.ids[0] == bos == row.ids[1]:
        found.twice.append(entry)
    if len(row.ids) > renderer.config.train.max_length:
        found.overlong.append(entry)


def template_finding(error: InputError, parts: dict[str, Part]) -> Finding:
    """The renderer tries its template before any record: what it refuses concerns them all."""
    kind = "double_bos" if "twice" in str(error) else "template"
    name = "train" if "train" in parts else next(iter(parts))
    return Finding(kind, ERROR, name, len(parts[name]), len(parts[name]), str(error))


def token_findings(found: Lengths, part: Part, config: SFTConfig, cells: list[str]) -> Iterator[Finding]:
    of = len(found.tokens) + len(found.unrendered)
    if found.unrendered:
        sentence = f"{len(found.unrendered):,} of {of:,} records cannot be rendered: {found.unrendered[0][1]}"
        yield _finding("unreadable", ERROR, sentence, [entry for entry, _ in found.unrendered], part, of, cells)
    for kind, entries, words in (
        ("no_supervised_token", found.unsupervised, "have no supervised token: every label is masked"),
        ("eos_not_learnt", found.endless, "do not end in a supervised end token: the model would not learn to stop"),
        ("double_bos", found.twice, "begin with two BOS tokens"),
    ):
        if entries:
            sentence = f"{len(entries):,} of {of:,} records {words}"
            yield _finding(kind, ERROR, sentence, entries, part, of, cells)
    if found.overlong:
        yield _overlong(found, part, config, cells)


def _overlong(found: Lengths, part: Part, config: SFTConfig, cells: list[str]) -> Finding:
    limit, policy = config.train.max_length, config.train.overlong
    fate = _POLICIES.get(policy, "stop the run (train.overlong = error)")
    by_label = shares(by_class(found.overlong), part.classes)
    sentence = (
        f"{len(found.overlong):,} of {len(found.tokens):,} records ({percent(len(found.overlong), len(found.tokens))}) "
        f"are longer than train.max_length = {limit} and {fate}; the longest has {max(found.tokens):,} tokens"
        + (f" ({listed(by_label)})" if config.task.type == "classification" else "")
    )
    level = WARNING if policy in _POLICIES else ERROR
    return _finding("overlong", level, sentence, found.overlong, part, len(found.tokens), cells)


def _finding(
    kind: str, level: str, sentence: str, entries: list[Entry], part: Part, of: int, cells: list[str]
) -> Finding:
    return Finding(
        kind, level, part.name, len(entries), of, sentence, shares(by_class(entries), part.classes),
        shares(by_group(entries), part.groups), places(entries), cells,
    )  # fmt: skip


def distribution(lengths: list[int], unit: str, limit: int | None) -> dict[str, Any]:
    """Quantiles, and a histogram of at most 40 bins of equal width that ends in whole numbers."""
    if not lengths:
        return {}
    ordered = sorted(lengths)
    width = max(1, -(-(ordered[-1] + 1) // 40))
    counts = Counter(length // width for length in ordered)
    return {
        "unit": unit, "limit": limit, "bin": width, "counts": [counts[i] for i in range(ordered[-1] // width + 1)],
        "median": ordered[len(ordered) // 2], "p95": ordered[int(0.95 * (len(ordered) - 1))], "max": ordered[-1],
        "total": sum(ordered),
    }  # fmt: skip
