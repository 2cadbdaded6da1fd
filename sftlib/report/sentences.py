"""What a reader may repeat: figures come in, the plain sentences at the top of the report go out."""

from __future__ import annotations

from typing import Any

from sftlib.metrics.intervals import holm
from sftlib.metrics.verdicts import METRIC_NAMES as _NAMES
from sftlib.metrics.verdicts import is_significant

MOST_NAMED = 6
_RATES = {"fpr": "FPR", "fnr": "FNR"}


def verdicts(
    cells: dict[str, Any], comparisons: list[dict[str, Any]], headline: str, confidence: float,
    sweep: dict[str, Any] | None = None,
) -> list[dict]:  # fmt: skip
    """Comparisons first, then what would make them worthless, then for whom a cell is worse."""
    beaten = _beaten_by_constant(cells, headline)
    asked = [entry for entry in comparisons if entry["kind"] in ("baseline", "pair")]
    found = _best(cells, comparisons, headline)
    found += [
        {
            "kind": entry["kind"],
            "cell": entry["a"],
            "tone": _tone(entry, headline, beaten),
            "sentence": entry["verdict"],
        }
        for entry in sorted(asked, key=lambda entry: -(cells[entry["a"]]["overall"].get(headline) or 0.0))
    ]
    found += _trivial(cells, beaten, headline) + _seeds(sweep, headline)
    for name, cell in cells.items():
        if not cell["is_baseline"]:
            found += [line for column in cell["disparities"] for line in _bias(name, cell, column, 1 - confidence)]
    return found


def _tone(entry: dict[str, Any], headline: str, beaten: list[str]) -> str:
    """Whether the verdict is good news: the headline metrics all rise when things get better. To be better than a
    baseline and no better than a constant answer is none."""
    seen = [key for key in (headline, "rouge_l") if key in entry["metrics"] and is_significant(entry, key)]
    if not seen:
        return "neutral"
    if entry["metrics"][seen[0]]["difference"] < 0:
        return "bad"
    return "neutral" if entry["a"] in beaten else "good"


def _best(cells: dict[str, Any], comparisons: list[dict[str, Any]], headline: str) -> list[dict]:
    """Of many cells one is always the best: said with how many of the others it is told apart from."""
    scores = {
        name: cell["overall"][headline]
        for name, cell in cells.items()
        if not cell["is_baseline"] and cell["overall"].get(headline) is not None
    }
    if len(scores) < 2:
        return []
    best, title = max(scores, key=lambda name: scores[name]), _NAMES.get(headline, headline)
    against = [entry for entry in comparisons if entry["kind"] == "cells" and best in (entry["a"], entry["b"])]
    tried = against[0]["tried"] if against else 0
    told = sum(is_significant(entry, headline) for entry in against)
    if not against:
        return []
    if told == len(against):
        outcome = "it is better than each of the others beyond chance"
    elif not told:
        outcome = "that is within noise of every other one: choosing it for its score would be choosing by chance"
    else:
        outcome = f"beyond chance it is better than {told} of the {len(against)} others, and no more"
    sentence = (
        f"Of {len(scores)} trained cells {best} has the highest {title}, {scores[best]:.3f}; {outcome}"
        f"{f' (corrected for {tried} comparisons)' if tried > 1 else ''}."
    )
    return [{"kind": "best", "cell": best, "sentence": sentence}]


def _seeds(sweep: dict[str, Any] | None, headline: str) -> list[dict]:
    """How far a score moves by the seed alone."""
    spread = sweep["seed_spread"][headline] if sweep else {"sd": None}
    if spread["sd"] is None:
        return []
    title, reach = _NAMES.get(headline, headline), 1.96 * 2**0.5 * spread["sd"]
    sentence = (
        f"Trained again with another seed {title} moves by {spread['sd']:.3f} (standard deviation over {spread['settings']} "
        f"settings); a difference between two cells of less than {reach:.3f} is what a seed may make."
    )
    return [{"kind": "seeds", "cell": None, "sentence": sentence}]


def _beaten_by_constant(cells: dict[str, Any], headline: str) -> list[str]:
    """Cells that a constant answer matches: they have not been shown to have learnt anything."""
    return [
        name
        for name, cell in cells.items()
        if (score := cell["overall"].get(headline)) is not None
        and (always := cell["baselines"].get("always_positive", {}).get(headline)) is not None
        and score <= always
    ]


def _trivial(cells: dict[str, Any], beaten: list[str], headline: str) -> list[dict]:
    """One sentence for each score of the constant answer, which is one where all cells answered the same records."""
    by_score: dict[float, list[str]] = {}
    for name in beaten:
        by_score.setdefault(cells[name]["baselines"]["always_positive"][headline], []).append(name)
    title = _NAMES.get(headline, headline)
    return [
        {
            "kind": "trivial",
            "cell": names[0] if len(names) == 1 else None,
            "sentence": f"{_listed(names, cells, headline)} {'does' if len(names) == 1 else 'do'} not beat a constant answer: "
            f"always answering the positive label has {'an' if title == 'F1' else 'a'} {title} of {always:.3f}.",
        }
        for always, names in by_score.items()
    ]


def _listed(names: list[str], cells: dict[str, Any], headline: str) -> str:
    shown = [f"{name} ({cells[name]['overall'][headline]:.3f})" for name in names[:MOST_NAMED]]
    if len(names) > MOST_NAMED:
        return f"{', '.join(shown)} and {len(names) - MOST_NAMED} more cells"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def _bias(name: str, cell: dict[str, Any], column: str, alpha: float) -> list[dict]:
    """One sentence a rate whose omnibus test says that the groups differ; the tests of one column are one family."""
    gaps = cell["disparities"][column]
    known = {rate: gaps["omnibus"][rate]["p"] for rate in _RATES if gaps["omnibus"][rate]["p"] is not None}
    adjusted = dict(zip(known, holm(list(known.values())), strict=True))
    tests = [(rate, p) for rate, p in adjusted.items() if p is not None]
    lines = [_gap(name, cell, column, rate, p) for rate, p in tests if p < alpha]
    if lines or not tests:
        return lines
    chances = " and ".join(f"{_RATES[rate]} {_chance(p)}" for rate, p in tests)
    small = " Some groups are small, so this says little." if gaps["small_groups"] else ""
    sentence = (
        f"For {name} no difference in error rates between groups of {column} is beyond chance "
        f"(chi-square, adjusted for {len(tests)} tests: {chances}).{small}"
    )
    return [{"kind": "bias", "cell": name, "sentence": sentence}]


def _chance(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _gap(name: str, cell: dict[str, Any], column: str, rate: str, p: float) -> dict:
    known = {group: m[rate] for group, m in cell["groups"][column].items() if m[rate] is not None}
    worst, best = max(known, key=lambda group: known[group]), min(known, key=lambda group: known[group])
    sentence = (
        f"For {name} the {_RATES[rate]} differs between groups of {column}: {known[worst]:.3f} for {worst}, "
        f"{known[best]:.3f} for {best} (chi-square {_chance(p)})."
    )
    return {"kind": "bias", "cell": name, "sentence": sentence + _standardised(cell, column, rate, worst, best)}


def _standardised(cell: dict[str, Any], column: str, rate: str, worst: str, best: str) -> str:
    """The same two groups with an equal mix of records. Not the largest gap of all groups: of many it is that of the two
    with the fewest records."""
    even = ((cell["disparities"][column]["standardised"] or {}).get(rate) or {}).get("groups", {})
    high, low = ((even.get(group) or {}).get("standardised") for group in (worst, best))
    if high is None or low is None:
        return ""
    crude = cell["groups"][column][worst][rate] - cell["groups"][column][best][rate]
    return (
        f" With the same mix of sources and labels in both the difference is {high - low:.3f} instead of {crude:.3f}."
    )
