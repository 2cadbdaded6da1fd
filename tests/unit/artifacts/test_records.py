"""Raw records: every format, and a clear word about everything that is not a record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sftlib.artifacts.records import read_records
from sftlib.errors import DataError

ROWS = [{"text": "ein Gruß 🙂", "label": "a"}, {"text": "two,\nlines", "label": "b"}]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_every_format_gives_the_same_records(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    files = [
        write(tmp_path / "a.json", json.dumps(ROWS)),
        write(tmp_path / "b.json", json.dumps({"data": ROWS})),
        write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, ROWS)) + "\n\n"),
        write(tmp_path / "a.csv", '\ufefftext,label\nein Gruß 🙂,a\n"two,\nlines",b\n'),
        write(tmp_path / "a.tsv", 'text\tlabel\nein Gruß 🙂\ta\n"two,\nlines"\tb\n'),
        tmp_path / "a.parquet",
    ]
    for file in files:
        assert [record.fields for record in read_records(file)] == ROWS, file


def test_a_folder_is_its_files_in_order(tmp_path: Path) -> None:
    write(tmp_path / "2.jsonl", '{"n": 2}\n')
    write(tmp_path / "1.jsonl", '{"n": 1}\n')
    write(tmp_path / ".hidden.jsonl", '{"n": 0}\n')
    write(tmp_path / "README.md", "no records")
    assert [record.fields["n"] for record in read_records(tmp_path)] == [1, 2]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", "", "holds no record"),
        ("a.json", "[]", "holds no record"),
        ("a.json", "", "holds no record"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "a.jsonl:2: not valid JSON"),
        ("a.jsonl", '{"a": 1}\n[1]\n', "a.jsonl:2: expected an object with named fields, found list"),
        ("a.json", '{"a": 1}\n{"a": 2}', "name the file .jsonl"),
        ("a.json", '{"a": 1, "b": 2}', "expected a list of records, found an object with keys a, b"),
        ("a.json", "3", "expected a list of records, found int"),
        ("a.json", "[" * 100_000, "not valid JSON"),
        ("a.csv", "a,b\n1,2\n3\n", "a.csv:3: expected 2 columns"),
        ("a.csv", "a,b\n1,2,3\n", "expected 2 columns"),
        ("a.csv", "a,a\n1,2\n", "stands twice in the header"),
        ("a.csv", 'a,b\n"1,2\n', "not valid CSV"),
        ("a.jsonl", b'{"a": "\xff"}\n', "not UTF-8"),
        ("a.csv", b"a\n\xe9\n", "not UTF-8"),
        ("a.parquet", b"PAR1 not really", "not a whole Parquet file"),
        ("a.txt", "hello", "ends in '.txt'"),
    ],
)
def test_what_is_not_a_record_is_named(tmp_path: Path, name: str, content: str | bytes, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        list(read_records(write(tmp_path / name, content)))
    assert expected in str(caught.value) and name in str(caught.value)


def test_missing_files_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        list(read_records(tmp_path / "nowhere.json"))
    with pytest.raises(DataError, match="folder without any"):
        list(read_records(tmp_path))
