"""What could not be read, and why. Answers are shown masked: they may repeat what they were asked about."""

from __future__ import annotations

from html import escape

from sftlib.report.page.markup import Head, cell_name, masked, section, table
from sftlib.report.page.numbers import Numbers, whole


def answers_section(numbers: Numbers) -> str:
    reasons, labels = [], []
    for cell in numbers.cells:
        for reason in numbers.get("cells", cell, "unparsed", "reasons") or {}:
            count = numbers.show("cells", cell, "unparsed", "reasons", reason, form=whole)
            reasons.append([cell_name(numbers, cell), escape(reason), count])
        for answer in numbers.get("cells", cell, "unparsed", "unknown_labels") or {}:
            count = numbers.show("cells", cell, "unparsed", "unknown_labels", answer, form=whole)
            labels.append([cell_name(numbers, cell), masked(answer), count])
    heads = [Head("Cell", is_text=True), Head("Reason", is_text=True), Head("Answers")]
    parts = [table(heads, reasons, "Why answers could not be read")] if reasons else []
    heads = [Head("Cell", is_text=True), Head("Prediction", is_text=True), Head("Answers")]
    parts += [table(heads, labels, "Predictions that are no label of the task")] if labels else []
    lead = "Unparsed answers are wrong in every headline figure and stay in every n. Texts are hidden until you press them."
    return section("unparsed", "Unparsed answers", lead, *parts, brief="Unparsed")
