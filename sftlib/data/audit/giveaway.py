"""A feature of the target's format, outside the label's own value, that names the class.

A model sees its target before it sees its loss: where doubled braces stand around one class only, it learns to count
braces. For each feature of the format (marks, blanks, the whole mould of the target) the audit asks how much better than
chance the feature alone tells the classes apart: informedness, 0 at chance and 1 when it is never wrong (for two classes,
Youden's J). Letters and lengths are left out: what an explanation says, and how long it is, may depend on its class."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from sftlib.config.data import TaskSection
from sftlib.data.audit.entries import Part, places
from sftlib.data.audit.findings import ERROR, WARNING, Finding

FEWEST = 20  # records of a class: with fewer, chance alone looks like a rule
WEAK, STRONG = 0.3, 0.95
MOST_DISTINCT = 8  # counts above are one value
_VALUE = "\0"  # stands for the label
_MARKS = {
    "{": "opening brace", "}": "closing brace", "[": "opening bracket", "]": "closing bracket", '"': "double quote",
    "'": "single quote", "`": "backtick", ":": "colon", "\n": "line break", "<": "less-than sign", "*": "asterisk",
    "#": "hash sign", "\\": "backslash",
}  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """A feature and how well it tells the classes apart."""

    feature: str
    informedness: float
    table: dict[str, Counter[str]]  # class -> value of the feature -> records


def giveaway_finding(part: Part, task: TaskSection) -> Iterator[Finding]:
    """The strongest rule, where it is stronger than chance could make it."""
    labelled = [(entry.label, entry.sample.target) for entry in part.entries if entry.label and entry.sample.target]
    rule = strongest_rule([(label, target) for label, target in labelled if label and target], task)
    if rule is None:
        return
    level = ERROR if rule.informedness >= STRONG else WARNING
    table = {
        label: ", ".join(f"{value} in {n:,}" for value, n in counts.most_common(3))
        for label, counts in rule.table.items()
    }
    seen = "; ".join(f"{label}: {values}" for label, values in table.items())
    sentence = (
        f"the {rule.feature} of the target gives the label away (informedness {rule.informedness:.2f} of 1): {seen}"
    )
    yield Finding(
        "giveaway", level, part.name, len(labelled), len(part), sentence, table, places=places(part.entries[:2])
    )


def strongest_rule(targets: list[tuple[str, str]], task: TaskSection) -> Rule | None:
    """`targets` are (class, text); None where no feature is above its threshold."""
    sizes = Counter(label for label, _ in targets)
    kept = {label for label, count in sizes.items() if count >= FEWEST}
    if len(kept) < 2:
        return None
    rules = []
    for feature, table in _tables(targets, kept, task).items():
        value = informedness(table)
        chance = 3 * (len(set().union(*table.values())) / min(sizes[label] for label in kept)) ** 0.5
        if value >= max(WEAK, min(chance, STRONG)):
            rules.append(Rule(feature, value, table))
    # Of equals the most telling words: a mark before the whole mould.
    return max(rules, key=lambda rule: (round(rule.informedness, 3), rule.feature != "mould"), default=None)


def _tables(targets: list[tuple[str, str]], kept: set[str], task: TaskSection) -> dict[str, dict[str, Counter[str]]]:
    """Feature -> class -> value -> count; features that never vary are left out."""
    shapes = Counter((label, _without_label(target, task)) for label, target in targets if label in kept)
    tables: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for (label, shape), count in shapes.items():
        for feature, value in _features(shape):
            tables[feature][label][value] += count
    return {
        feature: dict(table)
        for feature, table in tables.items()
        if len(values := set().union(*table.values())) > 1 and (feature != "mould" or len(values) <= MOST_DISTINCT)
    }


def informedness(table: dict[str, Counter[str]]) -> float:
    """How far the mean recall of the best guess from the feature lies between chance (0) and certainty (1)."""
    rates = {label: {v: n / counts.total() for v, n in counts.items()} for label, counts in table.items()}
    values = set().union(*table.values())
    recall = sum(max(rate.get(value, 0.0) for rate in rates.values()) for value in values) / len(rates)
    chance = 1 / len(rates)
    return (recall - chance) / (1 - chance)


def _features(shape: str) -> Iterator[tuple[str, str]]:
    for mark, name in _MARKS.items():
        yield f"number of {name}s", str(min(shape.count(mark), MOST_DISTINCT))
    yield "blank before the answer", str(len(shape) - len(shape.lstrip()))
    yield "blank after the answer", str(len(shape) - len(shape.rstrip()))
    yield "last character", repr(shape[-1:]) if shape[-1:] != _VALUE and not shape[-1:].isalnum() else "a word"
    yield "mould", re.sub(r"[^\W_]+(?: [^\W_]+)*", "words", shape).replace(_VALUE, "LABEL")


def _without_label(target: str, task: TaskSection) -> str:
    """The target with every spelling of every label replaced by one mark."""
    spellings = {
        text
        for label in task.labels
        for text in (label, task.verbalizers.get(label, label), *task.aliases.get(label, []))
    }
    if not spellings:
        return target
    pattern = "|".join(re.escape(text) for text in sorted(spellings, key=len, reverse=True))
    return re.sub(rf"(?<!\w)(?:{pattern})(?!\w)", _VALUE, target, flags=re.IGNORECASE)
