"""What the audit can find: each kind's name in words, when it counts, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

ERROR, WARNING = "error", "warning"
LEVELS = (ERROR, WARNING)
MOST_PLACES, MOST_NAMES = 5, 6
OTHER = "(none)"  # records without a label, without a group


@dataclass(frozen=True)
class Kind:
    """One kind of finding."""

    title: str
    remedy: str


KINDS: dict[str, Kind] = {
    "empty": Kind("empty text or target", "mend or remove these records"),
    "unreadable": Kind("unreadable record", "mend or remove these records"),
    "duplicate": Kind("duplicate", "keep one of each: repeated records count twice in the loss and in every rate"),
    "conflict": Kind("conflicting labels", "decide on one label for each text: no model can learn both"),
    "leakage": Kind("text shared between splits", "remove the shared records from train: they are learnt by heart"),
    "near_leakage": Kind("near-duplicate across splits", "look at the pairs and remove the copies from train"),
    "unparsable_target": Kind(
        "target not read back as its label", "write targets with `sft prompts build` or data.format labelled"
    ),
    "giveaway": Kind(
        "target format gives the label away", "write the targets of all classes in one and the same format"
    ),
    "dropped_by_filter": Kind("rows dropped by a filter", "loosen data.SPLIT.where, or use these records in another split"),
    "split_field": Kind(
        "split field contradicts the split", "mend the field, or select by it with data.SPLIT.where in all splits"
    ),
    "prompt_mismatch": Kind(
        "train prompts differ from prediction prompts", "render both with one prompt.strategy (data.format labelled)"
    ),
    "missing_class": Kind("class without records", "add records of the class, or take it out of task.labels"),
    "thin_group": Kind("too few records for a rate", "read the rates of these groups with their intervals, or add records"),
    "no_supervised_token": Kind("no supervised token", "look at `sft audit --show`: the answer is empty or masked"),
    "eos_not_learnt": Kind("end of answer not learnt", "let the template end the assistant's turn with the EOS token"),
    "double_bos": Kind("two BOS tokens", "take the BOS token out of the template or out of the texts"),
    "template": Kind("template that cannot be used", "use another prompt.template, or mend prompt.template_file"),
    "overlong": Kind(
        "longer than train.max_length", "raise train.max_length, or set train.overlong to drop or truncate_prompt"
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that was found in one split, or between two."""

    kind: str
    level: str
    split: str
    count: int
    of: int
    sentence: str
    by_class: dict[str, str] = field(default_factory=dict)  # class -> "count of all"
    by_group: dict[str, str] = field(default_factory=dict)
    places: list[str] = field(default_factory=list)  # file:line of the first few
    cells: list[str] = field(default_factory=list)  # of the sweep; empty: all
    accepted: bool = False  # named in data.accept: it would have stopped the run

    @property
    def title(self) -> str:
        return KINDS[self.kind].title

    @property
    def remedy(self) -> str:
        return KINDS[self.kind].remedy.replace("SPLIT", self.split.partition(" ")[0])

    def accept(self, accepted: Iterable[str]) -> Finding:
        """An error that the experiment accepts by name is a warning that says so."""
        if self.level != ERROR or self.kind not in set(accepted):
            return self
        return replace(self, level=WARNING, accepted=True)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "title": self.title, "remedy": self.remedy}


def shares(hit: Counter[str], all_: Counter[str]) -> dict[str, str]:
    """`{"normal": "1,417 of 1,417"}`, for every name in `all_`, the most struck first."""
    names = sorted(all_, key=lambda name: (-hit[name] / all_[name], -hit[name], name))
    return {name: f"{hit[name]:,} of {all_[name]:,}" for name in names}


def listed(parts: dict[str, str]) -> str:
    """`normal 1,417 of 1,417; hate 0 of 1,269`, shortened."""
    shown = [f"{name} {value}" for name, value in list(parts.items())[:MOST_NAMES]]
    more = [f"{len(parts) - MOST_NAMES} more"] if len(parts) > MOST_NAMES else []
    return "; ".join(shown + more)


def percent(count: int, of: int) -> str:
    """`26.0%`; what is there but small is never `0.0%`."""
    share = 100 * count / of if of else 0.0
    return "<0.1%" if 0 < share < 0.05 else f"{share:.1f}%"
