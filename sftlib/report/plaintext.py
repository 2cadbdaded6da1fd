"""The report for a terminal, 100 columns wide: metrics.json comes in, text goes out."""

from __future__ import annotations

from typing import Any

from sftlib.artifacts.progress import clock
from sftlib.report.text_tables import WIDTH, chance, number, ranged, table, wrapped

MOST_FINDINGS = 20
MOST_SENTENCES = 10  # of each kind
MOST_GROUPS = 20
MOST_FLIPS = 60
_TITLES = {
    "f1": "F1", "macro_f1": "macro F1", "accuracy": "accuracy", "fpr": "FPR", "fnr": "FNR",
    "exact_match": "exact match", "rouge_l": "ROUGE-L",
}  # fmt: skip
_BINARY, _OTHER = ("f1", "accuracy", "fpr", "fnr"), ("macro_f1", "accuracy", "exact_match", "rouge_l")


def report_text(metrics: dict[str, Any]) -> str:
    """All of it, top to bottom in the order of the page."""
    parts = [
        _head(metrics),
        _findings(metrics),
        _cells(metrics),
        *_groups(metrics),
        _gaps(metrics),
        _comparisons(metrics),
        _flips(metrics),
        _examples(metrics),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(metrics: dict[str, Any]) -> str:
    run, coverage = metrics["run"], metrics["coverage"]
    stamp = "complete" if metrics["complete"] else "*** INCOMPLETE ***"
    title = f"{run['name']} ({run['directory']})"
    lines = [title + stamp.rjust(max(len(stamp) + 1, WIDTH - len(title)))]
    lines += [wrapped(run["description"])] if run["description"] else []
    lines += ["", *(wrapped(f"* {sentence}") for sentence in _sentences(metrics["verdicts"]))]
    share = coverage["unparsed_share"]
    facts = [
        f"{coverage['records']:,} test records",
        f"{coverage['valid_shards']} of {coverage['expected_shards']} shards"
        if run.get("kind", "run") == "run"
        else "",
        f"unparsed {100 * share:.1f}%" if share is not None else "",
        f"positive label {run['positive']}" if run["positive"] else "",
        f"intervals {100 * run['confidence']:g}%",
        f"fingerprint {run['fingerprint'][:12]}"
        if run["fingerprint"]
        else "no fingerprint"
        if run.get("kind", "run") == "run"
        else "",
    ]
    return "\n".join([*lines, "", wrapped(", ".join(filter(None, facts)))])


def _sentences(verdicts: list[dict[str, Any]]) -> list[str]:
    """What was found, then the cautions; of a large sweep as many as anyone reads."""
    answers = [entry["sentence"] for entry in verdicts if entry["kind"] in ("best", "baseline", "pair")]
    cautions = [entry["sentence"] for entry in verdicts if entry["kind"] not in ("best", "baseline", "pair")]
    more = [
        f"and {len(kept) - MOST_SENTENCES} more, in metrics.json" if len(kept) > MOST_SENTENCES else ""
        for kept in (answers, cautions)
    ]
    found = [*answers[:MOST_SENTENCES], more[0], *cautions[:MOST_SENTENCES], more[1]]
    return [sentence for sentence in found if sentence]


def _findings(metrics: dict[str, Any]) -> str:
    found = metrics["coverage"]["findings"]
    if not found:
        return ""
    lines = [wrapped(finding["sentence"], "  ") for finding in found[:MOST_FINDINGS]]
    if len(found) > MOST_FINDINGS:
        lines.append(f"  and {len(found) - MOST_FINDINGS} more in metrics.json")
    mends = [f"  {mend}" for mend in dict.fromkeys(finding["mend"] for finding in found if finding["mend"])]
    return "\n".join(["FINDINGS", *lines, *_held(metrics), *(["mend with", *mends] if mends else [])])


def _held(metrics: dict[str, Any]) -> list[str]:
    """What is there of each cell that is not whole, by group."""
    lines = []
    for name, cell in metrics["coverage"]["cells"].items():
        if cell["share"] < 1:
            parts = [
                f"{group} {held['rows']}/{held['known']}"
                for groups in cell["groups"].values()
                for group, held in groups.items()
            ]
            head = f"{name}: {cell['rows']:,} of {metrics['coverage']['records']:,} records"
            lines.append(wrapped(head + (f" ({', '.join(parts)})" if parts else ""), "  "))
    return lines


def _cells(metrics: dict[str, Any]) -> str:
    keys = _columns(metrics)
    rows = []
    for name, cell in metrics["cells"].items():
        seconds = (cell["training"] or {}).get("seconds")
        rows.append([name, str(cell["overall"]["n"]), *(ranged(cell["overall"], key) for key in keys), _time(seconds)])
    for name, m in _trivial(metrics).items():
        rows.append([f"({name.replace('_', ' ')})", "", *(f"{number(m.get(key))}{' ' * 10}" for key in keys), ""])
    return "CELLS\n" + table(["cell", "n", *(_TITLES[key].ljust(15) for key in keys), "time"], rows)


def _trivial(metrics: dict[str, Any]) -> dict[str, Any]:
    """The trivial baselines of the cell that has most records."""
    cells = metrics["cells"].values()
    return max(cells, key=lambda cell: cell["overall"]["n"])["baselines"] if cells else {}


def _columns(metrics: dict[str, Any]) -> list[str]:
    known = {key for cell in metrics["cells"].values() for key in cell["overall"]}
    return [key for key in (_BINARY if len(metrics["run"]["labels"]) == 2 else _OTHER) if key in known]


def _groups(metrics: dict[str, Any]) -> list[str]:
    keys = [key for key in _columns(metrics) if key != "accuracy" or len(_columns(metrics)) < 3]
    parts = []
    for column in next(iter(metrics["cells"].values()), {"groups": {}})["groups"]:
        rows = [
            [
                name,
                group,
                str(m["n"]),
                *(str(m.get(key, "-")) for key in ("n_positive", "n_negative")),
                *(ranged(m, key) for key in keys),
            ]
            for name, cell in metrics["cells"].items()
            for group, m in _largest(cell["groups"][column]).items()
        ]
        header = ["cell", "group", "n", "n+", "n-", *(_TITLES[key].ljust(15) for key in keys)]
        count = max(len(cell["groups"][column]) for cell in metrics["cells"].values())
        more = f" (the {MOST_GROUPS} largest of {count}; all are in bias.csv)" if count > MOST_GROUPS else ""
        parts.append(f"GROUPS  {column}{more}\n" + table(header, rows, texts=2))
    return parts


def _largest(groups: dict[str, Any]) -> dict[str, Any]:
    kept = sorted(groups, key=lambda group: -groups[group]["n"])[:MOST_GROUPS]
    return {group: groups[group] for group in groups if group in kept}


def _gaps(metrics: dict[str, Any]) -> str:
    rows = [
        [
            name, column, number(gaps["demographic_parity_difference"]), number(gaps["equalized_odds_difference"]),
            number(gaps["equal_opportunity_difference"]), number(gaps["fped"]), number(gaps["fned"]),
            chance(gaps["omnibus"]["fpr"]["p"]), chance(gaps["omnibus"]["fnr"]["p"]),
        ]
        for name, cell in metrics["cells"].items()
        for column, gaps in cell["disparities"].items()
    ]  # fmt: skip
    header = ["cell", "column", "parity", "eq. odds", "eq. opp.", "FPED", "FNED", "p(FPR)", "p(FNR)"]
    return "GAPS BETWEEN GROUPS\n" + table(header, rows, texts=2) if rows else ""


def _comparisons(metrics: dict[str, Any]) -> str:
    rows = []
    for entry in metrics["comparisons"]:
        for key, change in entry["metrics"].items():
            low, high = change["low"], change["high"]
            bounds = f"[{low:+.3f} {high:+.3f}]" if low is not None and high is not None else ""
            gap = "-" if change["difference"] is None else f"{change['difference']:+.3f}"
            title = _TITLES.get(key, key)
            rows.append(
                [
                    f"{entry['a']} - {entry['b']}",
                    title,
                    str(entry["n"]),
                    gap,
                    bounds,
                    chance(change["p"]),
                    chance(change.get("p_holm")),
                ]
            )
    header = ["a - b", "metric", "n", "a minus b", "interval", "p", "p (Holm)"]
    return "COMPARISONS\n" + table(header, rows, texts=2) if rows else ""


def _flips(metrics: dict[str, Any]) -> str:
    """Who changed sides, overall and by group."""
    rows = []
    for entry in metrics["comparisons"]:
        if entry["kind"] == "cells":
            continue
        name = f"{entry['a']} - {entry['b']}"
        rows.append([name, "all records", *_flip_counts(entry["flips"] | {"n": entry["n"]})])
        for groups in entry.get("flips_by_group", {}).values():
            rows += [[name, group, *_flip_counts(groups[group])] for group in list(groups)[:MOST_GROUPS]]
    header = ["a - b", "records", "n", "both right", "only a right", "only b right", "both wrong"]
    return "CHANGED SIDES\n" + table(header, rows[:MOST_FLIPS], texts=2) if rows else ""


def _flip_counts(flips: dict[str, Any]) -> list[str]:
    return [str(flips[key]) for key in ("n", "both_right", "a_right_b_wrong", "b_right_a_wrong", "both_wrong")]


def _examples(metrics: dict[str, Any]) -> str:
    """A few records of a comparison that was asked for. Their texts stay in the file: they may hurt."""
    is_text = metrics["run"]["task"] == "generation"
    rows = [
        [
            entry[way[0]],
            example["sample_id"],
            *([] if is_text else [str(example[key] or "-") for key in ("gold", "a", "b")]),
        ]
        for entry in metrics["comparisons"]
        if entry["kind"] == "pair"
        for way in ("a_right_b_wrong", "b_right_a_wrong")
        for example in entry["examples"][way]
    ]
    header = ["better", "sample"] if is_text else ["only right", "sample", "true label", "a said", "b said"]
    return "EXAMPLES\n" + table(header, rows[:MOST_FINDINGS], texts=len(header)) if rows else ""


def _time(seconds: float | None) -> str:
    return "" if seconds is None else clock(seconds)
