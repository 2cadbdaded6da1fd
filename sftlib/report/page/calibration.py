"""Whether scores mean what they say: reliability diagrams, ranking and calibration metrics, bias AUCs."""

from __future__ import annotations

from html import escape

from sftlib.report.page.decided import decided_table
from sftlib.report.page.markup import Head, cell_name, colour, named, section, table
from sftlib.report.page.numbers import Numbers, rate, whole

SIDE = 200  # of the plot, in its own units
LEFT, TOP, BOTTOM = 46, 8, 36


def calibration_section(numbers: Numbers) -> str:
    cells = [cell for cell in numbers.cells if numbers.get("cells", cell, "scores")]
    if not cells:
        return ""
    pictures = "".join(_diagram(numbers, cell) for cell in cells if cell in numbers.pictured())
    lead = "Scores are probabilities of the positive label. On the diagonal a score of 0.8 means right in 80% of cases; a dot's area is its share of records."
    return section(
        "scores",
        "Scores",
        lead,
        f'<div class="diagrams">{pictures}</div>',
        _metrics(numbers, cells),
        decided_table(numbers),
        _bias(numbers, [cell for cell in cells if cell in numbers.detailed]),
    )


def _diagram(numbers: Numbers, cell: str) -> str:
    bins = numbers.get("cells", cell, "scores", "reliability") or []
    total = sum(entry["n"] for entry in bins) or 1
    points = "".join(_point(numbers, cell, place, (entry["n"] / total) ** 0.5) for place, entry in enumerate(bins))
    path = " ".join(f"{_x(entry['mean_score']):.1f},{_y(entry['share_positive']):.1f}" for entry in bins)
    words = "; ".join(
        f"score {entry['mean_score']:.2f}: {entry['share_positive']:.2f} positive of {entry['n']}" for entry in bins
    )
    width, height = LEFT + SIDE + 12, TOP + SIDE + BOTTOM
    return (
        f'<figure><figcaption>{cell_name(numbers, cell)}</figcaption><svg class="plot {colour(numbers, cell)}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{escape(f"Reliability of {cell}: {words}")}">{_frame()}'
        f'<polyline class="path" points="{path}"/>{points}</svg></figure>'
    )


def _frame() -> str:
    lines = [f'<line class="ideal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>']
    for tick in (0, 0.25, 0.5, 0.75, 1):
        lines.append(f'<line class="grid" x1="{_x(tick)}" x2="{_x(tick)}" y1="{_y(0)}" y2="{_y(1)}"/>')
        lines.append(f'<line class="grid" x1="{_x(0)}" x2="{_x(1)}" y1="{_y(tick)}" y2="{_y(tick)}"/>')
    for tick in (0, 0.5, 1):
        lines.append(f'<text x="{_x(tick)}" y="{_y(0) + 14}" text-anchor="middle">{tick:g}</text>')
        lines.append(f'<text x="{LEFT - 6}" y="{_y(tick) + 4}" text-anchor="end">{tick:g}</text>')
    lines.append(f'<text x="{_x(0.5)}" y="{_y(0) + 30}" text-anchor="middle">mean score</text>')
    lines.append(f'<text transform="translate(12 {_y(0.5)}) rotate(-90)" text-anchor="middle">share positive</text>')
    return "".join(lines)


def _point(numbers: Numbers, cell: str, place: int, root_share: float) -> str:
    at = ("cells", cell, "scores", "reliability", place)
    entry = numbers.get(*at)
    title = f"mean score {entry['mean_score']:.3f}, {entry['share_positive']:.3f} positive, {entry['n']} records"
    return (
        f'<circle cx="{_x(entry["mean_score"]):.1f}" cy="{_y(entry["share_positive"]):.1f}" r="{3 + 9 * root_share:.1f}" '
        f"{numbers.attributes(*at, 'share_positive')}><title>{title}</title></circle>"
    )


def _x(value: float) -> float:
    return LEFT + SIDE * value


def _y(value: float) -> float:
    return TOP + SIDE * (1 - value)


def _metrics(numbers: Numbers, cells: list[str]) -> str:
    bins = numbers.get("cells", cells[0], "scores", "ece_bins")
    names = {
        "auroc": Head("AUROC", "chance that a positive outscores a negative"),
        "average_precision": Head("Average precision"),
        "brier": Head("Brier", "mean squared error of the probability; lower is better"),
        "ece": Head(f"ECE (M = {bins})", "expected calibration error; lower is better"),
        "log_loss": Head("Log loss", "lower is better"),
    }
    heads = [Head("Cell", is_text=True), Head("Scored"), *names.values()]
    rows = [
        [
            cell_name(numbers, cell),
            numbers.show("cells", cell, "scores", "n", form=whole),
            *(numbers.ranged("cells", cell, "scores", key) for key in names),
        ]
        for cell in cells
    ]
    return table(heads, rows, "Ranking and calibration")


def _group(numbers: Numbers, cell: str, column: str, group: str) -> str:
    columns = numbers.get("cells", cell, "scores", "bias_aucs")
    return named(group) if len(columns) == 1 else f"{escape(column)}: {named(group)}"


def _bias(numbers: Numbers, cells: list[str]) -> str:
    """Subgroup, BPSN and BNSP AUC; the last rows of each column are the generalised means."""
    rows = []
    for cell in cells:
        for column, aucs in (numbers.get("cells", cell, "scores", "bias_aucs") or {}).items():
            at = ("cells", cell, "scores", "bias_aucs", column)
            for group in sorted(aucs["groups"]):
                rows.append(
                    [
                        cell_name(numbers, cell),
                        _group(numbers, cell, column, group),
                        *(numbers.show(*at, "groups", group, key) for key in ("subgroup", "bpsn", "bnsp")),
                    ]
                )
            rows.append(
                [
                    cell_name(numbers, cell),
                    f"<i>generalised mean over {escape(column)}</i>",
                    *(numbers.show(*at, "generalised_mean", key, form=rate) for key in ("subgroup", "bpsn", "bnsp")),
                ]
            )
    if not rows:
        return ""
    heads = [
        Head("Cell", is_text=True), Head("Group", is_text=True), Head("Subgroup AUC", "within the group"),
        Head("BPSN AUC", "background positives against the group's negatives: low means that these score too high"),
        Head("BNSP AUC", "the group's positives against background negatives: low means that the former score too low"),
    ]  # fmt: skip
    return table(
        heads,
        rows,
        "Bias AUCs; the background of a group is every record outside it; the generalised mean has power −5",
    )
