"""The audit: a subject in, everything that was found and counted out, as audit.json holds it. A table of contents."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from sftlib.config.tree import SFTConfig
from sftlib.data.audit.balance import balance_findings, class_by_group
from sftlib.data.audit.entries import Part
from sftlib.data.audit.filters import filter_findings
from sftlib.data.audit.findings import LEVELS, Finding
from sftlib.data.audit.giveaway import giveaway_finding
from sftlib.data.audit.leakage import Overlap, leakage_findings, overlaps
from sftlib.data.audit.prompts import Prompts, mismatch_finding, split_prompts
from sftlib.data.audit.records import conflict_finding, duplicate_finding, refused_findings
from sftlib.data.audit.subject import Subject, View, read_parts
from sftlib.data.audit.targets import target_finding
from sftlib.data.audit.tokens import (
    Lengths,
    distribution,
    load_light_tokenizer,
    measure,
    template_finding,
    token_findings,
)
from sftlib.data.rendering import Renderer
from sftlib.errors import InputError

SCHEMA_VERSION = 1
_TAUGHT = ("train", "validation")
_TOKEN_CHECKS = "supervised tokens, EOS, BOS, lengths"


def audit(subject: Subject, prompts: Prompts | None = None, accept: Iterable[str] = ()) -> dict[str, Any]:
    """Every check that can be made, and the names of those that could not. `prompts`: those of prediction, given apart;
    `accept`: kinds of errors that shall be warnings, beside those of the experiment."""
    started = time.perf_counter()
    left_out: dict[str, str] = {}
    parts, config = subject.parts, subject.config
    for name, part in parts.items():
        if not part.is_whole:
            left_out[f"{name} after its first {len(part):,} records"] = "data.streaming"
    pairs = _overlaps(parts, left_out)
    findings = [*_record_findings(parts, subject.views[0].config), *_pair_findings(pairs, parts)]
    lengths: dict[str, dict[str, Any]] = {}
    for place, view in enumerate(subject.views):
        # Another prompt or task makes other samples of the same records.
        seen = read_parts(config, view.config) if place else parts
        found = [*_text_findings(seen, view, prompts), *_token_findings(seen, view, lengths, left_out)]
        findings += _with_cells(found, subject, view)
    accepted = sorted({*config.data.accept, *accept})
    findings = [finding.accept(accepted) for finding in findings]
    findings.sort(key=lambda finding: LEVELS.index(finding.level))
    return {
        "schema_version": SCHEMA_VERSION,
        "subject": subject.title,
        "guessed": subject.guessed,
        "accept": accepted,
        "seconds": round(time.perf_counter() - started, 2),
        "errors": sum(finding.level == LEVELS[0] for finding in findings),
        "warnings": sum(finding.level == LEVELS[1] for finding in findings),
        "findings": [finding.to_json() for finding in findings],
        "splits": {name: _split_json(part, lengths.get(name) or _characters(part)) for name, part in parts.items()},
        "overlaps": [_overlap_json(pair) for pair in pairs],
        "left_out": left_out,
    }


def _record_findings(parts: dict[str, Part], config: SFTConfig) -> Iterator[Finding]:
    for part in parts.values():
        yield from refused_findings(part)
        yield from duplicate_finding(part, config)
    yield from conflict_finding(parts, config)
    yield from filter_findings(parts, config)
    yield from balance_findings(parts, config)


def _overlaps(parts: dict[str, Part], left_out: dict[str, str]) -> list[Overlap]:
    try:
        return overlaps(parts)
    except ModuleNotFoundError as error:  # a login node need not have numpy
        left_out["near-duplicates"] = f"{error.name} is not installed here"
        return overlaps(parts, look_near=False)


def _pair_findings(pairs: list[Overlap], parts: dict[str, Part]) -> Iterator[Finding]:
    for pair in pairs:
        yield from leakage_findings(pair, parts[pair.b])


def _text_findings(parts: dict[str, Part], view: View, prompts: Prompts | None) -> Iterator[Finding]:
    """Targets and prompts as this view writes them."""
    for name in _TAUGHT:
        if name in parts:
            yield from target_finding(parts[name], view.config.task)
            yield from giveaway_finding(parts[name], view.config.task)
    trained = split_prompts(parts["train"], view.config) if "train" in parts else None
    if trained and "test" in parts:
        yield from mismatch_finding(trained, split_prompts(parts["test"], view.config))
    if trained and prompts:
        yield from mismatch_finding(trained, prompts)


def _token_findings(
    parts: dict[str, Part], view: View, lengths: dict[str, dict[str, Any]], left_out: dict[str, str]
) -> Iterator[Finding]:
    tokenizer = _tokenizer(view, left_out)
    if tokenizer is None:
        return
    try:
        renderer = Renderer(view.config, tokenizer)
    except InputError as error:
        yield template_finding(error, parts)
        return
    for name in _TAUGHT:
        if name not in parts:
            continue
        part = parts[name]
        found: Lengths = measure(part, renderer)
        lengths.setdefault(name, distribution(found.tokens, "tokens", view.config.train.max_length))
        yield from token_findings(found, part, view.config, [])


def _tokenizer(view: View, left_out: dict[str, str]) -> Any:
    model = view.config.model.tokenizer or view.config.model.name_or_path
    if not model:
        left_out[_TOKEN_CHECKS] = "no tokenizer is named (--model)"
        return None
    try:
        return load_light_tokenizer(view.config)
    except ModuleNotFoundError as error:
        left_out[_TOKEN_CHECKS] = f"{error.name} is not installed here"
    except InputError as error:
        left_out[_TOKEN_CHECKS] = str(error)
    return None


def _with_cells(found: list[Finding], subject: Subject, view: View) -> list[Finding]:
    """Findings with the cells that they concern, where that is not all of them."""
    return [replace(finding, cells=view.cells) for finding in found] if len(subject.views) > 1 else found


def _characters(part: Part) -> dict[str, Any]:
    return distribution([len(entry.text) for entry in part.entries], "characters", None)


def _split_json(part: Part, lengths: dict[str, Any]) -> dict[str, Any]:
    return {
        "path": part.path, "format": part.format, "sha256": part.sha256, "records": len(part),
        "refused": len(part.refused), "classes": dict(part.classes.most_common()),
        "groups": {group: dict(counts) for group, counts in class_by_group(part).items()}, "lengths": lengths,
    }  # fmt: skip


def _overlap_json(pair: Overlap) -> dict[str, Any]:
    return {"a": pair.a, "b": pair.b, "exact": len(pair.exact), "near": len(pair.near), "of": pair.of}
