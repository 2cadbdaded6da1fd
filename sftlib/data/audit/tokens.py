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
from sftlib.data.rendering import IGNORED, Renderer
from sftlib.errors import InputError

# Tokenizers that are what their tokenizer.json says; others may be changed by their class when they are loaded.
_PLAIN_CLASSES = ("PreTrainedTokenizerFast", "TokenizersBackend", "GPT2Tokenizer", "GPT2TokenizerFast")
_CHUNK = 1024  # records rendered at once: their ids are forgotten before the next
_POLICIES = {"drop": "are dropped", "truncate_prompt": "lose the beginning of their prompt"}


@dataclass
class Lengths:
    """The rows of one split in tokens, and the entries that a check struck."""

    tokens: list[int] = field(default_factory=list)
    supervised: int = 0
    unsupervised: list[Entry] = field(default_factory=list)
    endless: list[Entry] = field(default_factory=list)
    twice: list[Entry] = field(default_factory=list)
    overlong: list[Entry] = field(default_factory=list)


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


def measure(part: Part, config: SFTConfig, renderer: Renderer) -> Lengths:
    """Render every record as training does and look at the labels."""
    found = Lengths()
    learnt = [entry for entry in part.entries if entry.sample.target is not None]
    for start in range(0, len(learnt), _CHUNK):
        chunk = learnt[start : start + _CHUNK]
        for entry, row in zip(chunk, _rows(renderer, chunk), strict=True):
            _look(found, entry, row.ids, row.labels, config, renderer.tokenizer)
    return found


def _rows(renderer: Renderer, entries: list[Entry]) -> Any:
    return [renderer.row(entry.sample) for entry in entries]


def _look(found: Lengths, entry: Entry, ids: Any, labels: Any, config: SFTConfig, tokenizer: Any) -> None:
    found.tokens.append(len(ids))
    if config.train.loss_on == "all":
        labels = ids
    supervised = sum(label != IGNORED for label in labels)
    found.supervised += supervised
    if not supervised:
        found.unsupervised.append(entry)
    elif labels[-1] != tokenizer.eos_token_id:
        found.endless.append(entry)
    bos = tokenizer.bos_token_id
    if bos is not None and len(ids) > 1 and ids[0] == bos == ids[1]:
        found.twice.append(entry)
    if len(ids) > config.train.max_length:
        found.overlong.append(entry)


def token_findings(found: Lengths, part: Part, config: SFTConfig, cells: list[str]) -> Iterator[Finding]:
    of = len(found.tokens)
    for kind, entries, words in (
        ("no_supervised_token", found.unsupervised, "have no supervised token: every label is masked"),
        ("eos_not_learnt", found.endless, "do not end in a supervised EOS token: the model would not learn to stop"),
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
