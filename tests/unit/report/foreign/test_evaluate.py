"""`sft evaluate`: any table of predictions gets the figures that a run gets, and what is wrong with it is named."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sftlib.report.merge import merge_run
from tests.unit.report.synthetic import LABELS, make_run, make_world

GOLDEN = {"lgbtq": (103, 67, 139, 184), "mexican": (74, 49, 7, 79), "middle_east": (105, 57, 34, 110)}
COLUMNS = ("--label", "gold", "--prediction", "answer", "--id", "id", "--group", "group")
Row = dict[str, Any]


def sft(*arguments: str) -> int:
    from sftlib.__main__ import main

    return main(["evaluate", *arguments])


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """metrics.json of a table that is as it should be."""
    assert sft(*arguments, "--json", "--bootstrap", "100") == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What is said about a table that is not."""
    assert sft(*arguments) == 2
    return capsys.readouterr().err


def only_cell(metrics: dict[str, Any]) -> dict[str, Any]:
    (cell,) = metrics["cells"].values()
    return cell


def golden_rows() -> list[Row]:
    rows = []
    for group, counts in GOLDEN.items():
        for (gold, answer), count in zip(
            [("hate", "hate"), ("hate", "normal"), ("normal", "hate"), ("normal", "normal")], counts, strict=True
        ):
            rows += [{"gold": gold, "answer": answer, "group": group} for _ in range(count)]
    return [{"id": f"r{place}", **row} for place, row in enumerate(rows)]


def write_csv(path: Path, rows: Sequence[Row]) -> str:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def rows_of(*pairs: tuple[Any, Any], **columns: Any) -> list[Row]:
    return [
        {"id": f"r{place}", "gold": gold, "answer": answer, "group": "g", **columns}
        for place, (gold, answer) in enumerate(pairs)
    ]


BOTH = [("hate", "hate"), ("normal", "normal"), ("hate", "normal"), ("normal", "hate")]


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "jsonl"])
def test_the_record_comes_out_of_every_format(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, path = golden_rows(), tmp_path / f"record.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "tsv":
        path.write_text("\n".join(["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]) + "\n")
    else:
        write_csv(path, rows)
    metrics = evaluate(capsys, str(path), *COLUMNS, "--positive", "hate")
    assert list(metrics["cells"]) == ["record"] and metrics["complete"] is True
    m, groups = only_cell(metrics)["overall"], only_cell(metrics)["groups"]["group"]
    assert (m["n"], m["tp"], m["fn"], m["fp"], m["tn"]) == (1008, 282, 173, 180, 373)
    assert m["macro_f1"] == pytest.approx(0.646924, abs=5e-7)
    assert groups["lgbtq"]["fpr"] == pytest.approx(0.430341, abs=5e-7)
    assert only_cell(metrics)["disparities"]["group"]["fped"] == pytest.approx(0.438331, abs=5e-7)


def test_out_gets_the_files_of_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "record.csv", golden_rows())
    assert sft(path, *COLUMNS, "--out", str(tmp_path / "out")) == 0
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "predictions.parquet", "metrics.csv", "bias.csv", "metrics.json", "report.txt", "report.html",
    }  # fmt: skip
    table = pq.read_table(tmp_path / "out" / "predictions.parquet", page_checksum_verification=True)
    assert table.num_rows == 1008 and table["cell"][0].as_py() == "record"
    assert table["sample_id"].to_pylist() == [f"r{place}" for place in range(1008)]
    assert "report.html" in capsys.readouterr().out


def test_predictions_of_a_run_get_the_figures_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", make_world(120, cells=("r8",)), 3)
    theirs = merge_run(run)["cells"]["r8"]
    shards = str(run.paths.cell("r8").predictions)
    for manifest in run.paths.cell("r8").predictions.glob("*.json"):
        manifest.unlink()
    ours = only_cell(
        evaluate(capsys, shards, "--label", "gold", "--prediction", "prediction", "--id", "sample_id", "--group",
                 "group.group", "--score", "score", "--reason", "reason", "--positive", "hate", "--source", "source",
                 "--original-label", "original_label")
    )  # fmt: skip
    assert ours["overall"] == theirs["overall"] and ours["scores"]["auroc"] == theirs["scores"]["auroc"]
    assert ours["groups"]["group.group"] == theirs["groups"]["group"]
    assert ours["stratified"]["source"] == theirs["stratified"]["source"]
    assert ours["unparsed"]["reasons"] == theirs["unparsed"]["reasons"]


def test_answers_are_read_again_by_the_parser_and_never_by_a_part_of_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = [
        'analysis is this hate? assistantfinal{"classification": "hate"}', '{"classification": "normal"}',
        "this is not hate", "analysis hate hate hate", "", "HATE", "hateful",
    ]  # fmt: skip
    rows = [
        {
            "id": f"r{place}",
            "gold": "hate",
            "reply": text,
            "answer": "hate" if "hate" in text else "normal",
            "group": "g",
        }
        for place, text in enumerate(raw)
    ]
    rows.append({"id": "n", "gold": "normal", "reply": "normal", "answer": "normal", "group": "g"})
    aliases = tmp_path / "aliases.yaml"
    aliases.write_text("hate: [hateful]\n")
    path = write_csv(tmp_path / "raw.csv", rows)
    metrics = evaluate(capsys, path, *COLUMNS, "--raw", "reply", "--alias", str(aliases), "--positive", "hate")
    m = only_cell(metrics)["overall"]
    assert (m["tp"], m["fn"], m["unparsed_positive"], m["tn"]) == (3, 1, 3, 1)
    assert sum(only_cell(metrics)["unparsed"]["reasons"].values()) == 3
    assert "4 answers of column 'answer'" in json.dumps(metrics["coverage"]["findings"])


def test_an_unknown_label_is_unparsed_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "p.csv", rows_of(*BOTH, ("hate", "hatefull"), ("normal", "")))
    cell = only_cell(evaluate(capsys, path, *COLUMNS))
    assert cell["unparsed"]["unknown_labels"] == {"hatefull": 1} and cell["overall"]["n"] == 6
    assert (cell["overall"]["unparsed_positive"], cell["overall"]["unparsed_negative"]) == (1, 1)


@pytest.mark.parametrize("values", [(1, 0), (1.0, 0.0), (True, False), ("1", "0"), ("True", "False"), ("yes", "no")])
def test_labels_may_be_numbers_or_booleans(values: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    high, low = values
    table = pa.table({
        "id": [1, 2, 3, 4], "gold": [high, low, high, low], "answer": [high, low, low, None], "group": ["g"] * 4,
    })  # fmt: skip
    pq.write_table(table, tmp_path / "p.parquet")
    metrics = evaluate(capsys, str(tmp_path / "p.parquet"), *COLUMNS)
    m = only_cell(metrics)["overall"]
    assert (m["tp"], m["fn"], m["tn"], m["unparsed_negative"]) == (1, 1, 1, 1)
    assert metrics["run"]["positive"].casefold() == str(high).casefold().removesuffix(".0")


@pytest.mark.parametrize("gold", LABELS)
def test_one_class_only_leaves_the_other_rate_undefined(
    gold: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_csv(tmp_path / "p.csv", rows_of((gold, "hate"), (gold, "normal")))
    m = only_cell(evaluate(capsys, path, *COLUMNS, "--positive", "hate"))["overall"]
    missing, known = ("fpr", "fnr") if gold == "hate" else ("fnr", "fpr")
    assert m[missing] is None and m[known] == 0.5
    assert (
        only_cell(evaluate(capsys, write_csv(tmp_path / "q.csv", rows_of((gold, gold))), *COLUMNS))["overall"]["n"] == 1
    )


def test_several_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "p.csv", rows_of(("a", "a"), ("b", "c"), ("c", "c"), ("c", "b")))
    m = only_cell(evaluate(capsys, path, *COLUMNS))["overall"]
    assert m["accuracy"] == 0.5 and "fpr" not in m and set(m["classes"]) == {"a", "b", "c"}


def test_a_record_in_several_groups_counts_in_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = [["a"], ["a", "b"], [], ["b"]]
    rows = [{**row, "group": groups} for row, groups in zip(rows_of(*BOTH), lists, strict=True)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    texts = [{**row, "group": ";".join(row["group"])} for row in rows]
    spelt = [{**row, "group": str(row["group"])} for row in rows]
    expected = {"a": 2, "b": 2, "(none)": 1}
    for path, further in (
        (tmp_path / "p.parquet", []), (write_csv(tmp_path / "t.csv", texts), ["--separator", ";"]),
        (write_csv(tmp_path / "s.csv", spelt), []),
    ):  # fmt: skip
        cell = only_cell(evaluate(capsys, str(path), *COLUMNS, *further))
        assert {name: m["n"] for name, m in cell["groups"]["group"].items()} == expected
        assert cell["overall"]["n"] == 4


def test_groups_are_crossed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**row, "sex": sex, "age": age} for row, (sex, age) in
            zip(rows_of(*BOTH), [("f", "old"), ("f", "young"), ("m", "old"), ("m", "")], strict=True)]  # fmt: skip
    cell = only_cell(evaluate(capsys, write_csv(tmp_path / "p.csv", rows), *COLUMNS[:-1], "sex", "age"))
    assert {name: m["n"] for name, m in cell["groups"]["sex × age"].items()} == {
        "f × old": 1, "f × young": 1, "m × old": 1, "(none)": 1,
    }  # fmt: skip


def test_ids_that_repeat_are_refused_with_their_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of(*BOTH, *BOTH)
    rows[6]["id"] = "r1"
    first, second = write_csv(tmp_path / "a.csv", rows[:5]), write_csv(tmp_path / "b.csv", rows[5:])
    said = refused(capsys, first, second, *COLUMNS, "--out", str(tmp_path / "out"))
    assert "1 ids stand at more than one record" in said and "a.csv record 2" in said and "b.csv record 2" in said
    assert not (tmp_path / "out" / "predictions.parquet").exists(), "nothing half-written"


def test_a_column_that_is_not_there_is_named_with_what_may_be_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_csv(tmp_path / "p.csv", rows_of(*BOTH))
    assert "no column 'groups' (--group); did you mean 'group'?" in refused(capsys, path, *COLUMNS[:-1], "groups")
    assert "--positive 'hat' is not in column 'gold'; did you mean 'hate'?" in refused(
        capsys, path, *COLUMNS, "--positive", "hat"
    )
    assert "expected numbers" in refused(capsys, path, *COLUMNS, "--score", "answer")
    assert "name the column with the answers" in refused(capsys, path, "--label", "gold", "--id", "id")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"id,gold,answer,group\n", "no record at all"),
        ("a.csv", b"id,gold,answer,group,gold\n1,a,b,c,d\n", "column 'gold' is there twice"),
        ("a.csv", "id,gold,answer,group\n1,h\u00e4te,a,g\n".encode("latin1"), "is not UTF-8"),
        ("a.csv", b"id,gold,answer,group\n1,hate\n", "cannot be read"),
        ("a.csv", b"id,gold,answer,group\n,hate,hate,g\n", "have no id"),
        ("a.parquet", b"PAR1 no PAR1", "cannot be read"),
        ("a.xlsx", b"PK", "expected .parquet"),
    ],
)  # fmt: skip
def test_files_that_are_no_tables_are_refused(
    name: str, content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert said in refused(capsys, str(tmp_path / name), *COLUMNS)


def test_a_file_after_the_groups_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "p.csv", rows_of(*BOTH))
    assert only_cell(evaluate(capsys, *COLUMNS, path))["overall"]["n"] == 4


def test_scores_of_foreign_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = ["0.9", "0.2", " ", "0.6"]
    rows = [{**row, "p": score} for row, score in zip(rows_of(*BOTH), scores, strict=True)]
    found = only_cell(evaluate(capsys, write_csv(tmp_path / "p.csv", rows), *COLUMNS, "--score", "p"))["scores"]
    assert (found["n"], found["unscored"], found["auroc"]) == (3, 1, 1.0)


def test_lines_within_texts_and_a_byte_order_mark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**row, "text": 'two\nlines, and "quotes"'} for row in rows_of(*BOTH)]
    path = Path(write_csv(tmp_path / "p.csv", rows))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert only_cell(evaluate(capsys, str(path), *COLUMNS))["overall"]["n"] == 4


def test_cells_parted_by_semicolons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(write_csv(tmp_path / "p.csv", [{**row, "text": "one"} for row in rows_of(*BOTH)]))
    path.write_text(path.read_text().replace(",", ";").replace("one", "one, two"))
    assert only_cell(evaluate(capsys, str(path), *COLUMNS))["overall"]["n"] == 4


def test_neither_torch_nor_pandas_is_needed(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv", [{**row, "p": "0.5"} for row in golden_rows()])
    script = (
        "import sys\nfrom sftlib.__main__ import main\n"
        f"assert main(['evaluate', {path!r}, *{list(COLUMNS)!r}, '--score', 'p', '--out', {str(tmp_path / 'out')!r}]) == 0\n"
        "assert not {'torch', 'transformers', 'datasets', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_ids_with_equal_hashes_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two ids may share a hash; that alone makes nothing repeat."""
    import numpy as np

    from sftlib.report.foreign import ids, parts

    for module in (ids, parts):
        monkeypatch.setattr(module, "id_hashes", lambda column: np.zeros(len(column), np.uint64))
    assert only_cell(evaluate(capsys, write_csv(tmp_path / "p.csv", rows_of(*BOTH)), *COLUMNS))["overall"]["n"] == 4


def test_open_ended_answers_are_judged_against_their_references(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [
        ("A cat sat.", "A cat sat."),
        ("A cat sat.", "a cat sat"),
        ("A cat sat.", "one dog ran"),
        ("A cat sat.", ""),
    ]
    path = write_csv(tmp_path / "a.csv", rows_of(*pairs))
    overall = only_cell(evaluate(capsys, path, *COLUMNS, "--open-ended"))["overall"]
    assert (overall["n"], overall["exact_match"], overall["normalised_match"], overall["rouge_l"]) == (
        4,
        0.25,
        0.5,
        0.5,
    )
    assert overall["unparsed"] == 1 and overall["exact_match_low"] < 0.25 < overall["exact_match_high"]
    said = refused(capsys, path, *COLUMNS, "--open-ended", "--positive", "hate", "--threshold", "0.5")
    assert "leave out --positive, --threshold" in said


def test_a_folder_of_our_own_shards_is_read_without_their_manifests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path, make_world(30), 3)
    folder = run.paths.cell("r8").predictions
    columns = ("--label", "gold", "--prediction", "prediction", "--id", "sample_id")
    assert list(folder.glob("*.json")) and only_cell(evaluate(capsys, str(folder), *columns))["overall"]["n"] == 30
