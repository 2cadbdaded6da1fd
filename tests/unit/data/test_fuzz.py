"""10,000 malformed files and records: never a traceback, always the file, the line, the field and what to do; nothing is
skipped in silence, and what was refused is counted. Deterministic: case N is the same everywhere."""

from __future__ import annotations

import copy
import gzip
import io
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sftlib.config.inputs import Split, read_split, stream_split
from sftlib.config.tree import SFTConfig
from sftlib.data.rendering import Renderer
from sftlib.data.samples import samples_of
from sftlib.errors import DataError
from tests.tiny import build_tokenizer

RECORD_CASES, FILE_CASES = 5_000, 5_000
REMEDY = re.compile(
    r"expected|convert|mend|name the file|compress|copy it|write the whole|did you mean|there are|Set data\.format|name each|give "
)
TASK = {"type": "classification", "labels": ["hate", "normal"]}
TURNS = [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
SPOKEN = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]
GOOD: dict[str, dict[str, Any]] = {
    "labelled": {"text": "a post", "label": "hate"},
    "text": {"text": "a post"},
    "alpaca": {"instruction": "do", "input": "this", "output": "done"},
    "prompt_completion": {"prompt": "hi", "completion": "ho"},
    "messages": {"messages": TURNS},
    "sharegpt": {"conversations": SPOKEN},
}
NOT_TEXT: list[Any] = [None, 5, -0.0, True, [], {}, "", " \n\t", ["a"], {"a": "b"}, float("nan"), 10**30]
NOT_LABELS: list[Any] = [None, [], {}, "", "Hate", "hate ", "x" * 2000, ["hate"], {"hate": 1}, 0, True]
NOT_ROLES: list[Any] = [None, "", 5, [], {}, "usr", "assistent", "x" * 500, "<|im_end|>", "user\n"]

RENDERER = Renderer(SFTConfig.model_validate({"task": TASK}), build_tokenizer())


def config(path: Path, fmt: str, faulty: str = "error") -> SFTConfig:
    data = {"train": str(path), "format": fmt, "faulty": faulty}
    return SFTConfig.model_validate({"data": data, "task": TASK if fmt == "labelled" else {}})


def use(split: Split, one: SFTConfig) -> None:
    """What passed the check of the plan is a sample with tokens."""
    rows = RENDERER.rows(samples_of(split, one))
    assert len(rows) == len(split) and all(any(label != -100 for label in row.labels) for row in rows)


# -- records ------------------------------------------------------------------------------------------------------------


def wrong_field(chance: random.Random, fmt: str, record: dict[str, Any]) -> str:
    """A field of a wrong type, an empty one, or none: returns its name."""
    required = {"alpaca": ["instruction", "output"]}.get(fmt, list(record))
    name = chance.choice(required)
    if chance.random() < 0.2:
        del record[name]
    elif name == "label":
        record[name] = chance.choice(NOT_LABELS)
    else:
        record[name] = chance.choice(NOT_TEXT)
    return name


def wrong_input(chance: random.Random, fmt: str, record: dict[str, Any]) -> str:
    if fmt != "alpaca":
        return wrong_field(chance, fmt, record)
    record["input"] = chance.choice([5, True, [], {}, ["a"], {"a": 1}])
    return "input"


def wrong_turn(chance: random.Random, fmt: str, record: dict[str, Any]) -> str:
    """Missing roles, null contents, turns that are none, a conversation that has no answer or nothing before it."""
    if fmt not in ("messages", "sharegpt"):
        return wrong_field(chance, fmt, record)
    name = "messages" if fmt == "messages" else "conversations"
    turns, (who, what) = record[name], ("role", "content") if fmt == "messages" else ("from", "value")
    turn = chance.randrange(len(turns))
    kind = chance.randrange(8)
    if kind == 0:
        turns[turn] = chance.choice([None, 5, "text", [], ["user", "hi"]])
    elif kind == 1:
        turns[turn][who] = chance.choice(NOT_ROLES)
    elif kind == 2:
        del turns[turn][chance.choice([who, what])]
    elif kind == 3:
        turns[turn][what] = chance.choice([None, 5, {}, [None], [{"type": "image_url"}], [{"type": "text", "text": 5}]])
    elif kind == 4:
        turns[-1][what] = chance.choice(["", "  ", None])
    elif kind == 5:
        turns.append({who: "user", what: "and?"})
    elif kind == 6:
        del turns[:-1]
    else:
        record[name] = chance.choice([{}, {"0": turns[0]}, "turns", turns[0], [[turns]]])
    return name


def half_pair(chance: random.Random, fmt: str, record: dict[str, Any]) -> str:
    """Half of an emoji, as programs write it that cut a text by its length in UTF-16."""
    name = chance.choice(list(record))
    value = record[name]
    record[name] = json.loads(json.dumps(value).replace("h", "\\ud83d", 1)) if "h" in json.dumps(value) else "\ud83d"
    return name


RECORD_MUTATIONS: list[Callable[[random.Random, str, dict[str, Any]], str]] = [
    wrong_field,
    wrong_turn,
    wrong_input,
    half_pair,
]


def broken_line(chance: random.Random, good: bytes) -> bytes:
    """A line of JSONL that is no record."""
    kind = chance.randrange(9)
    if kind == 0:
        return good[: chance.randrange(1, len(good) - 1)]
    if kind == 1:
        return good.replace(b'"', b"'")
    if kind == 2:
        return good[:-1] + b",}"
    if kind == 3:
        return chance.choice([b"[]", b"null", b"5", b'"text"', b"true", b"[1, 2]", b"NaN"])
    if kind == 4:
        return good.replace(
            b"{", b'{"x": "' + chance.choice([b"\xff", b"\xc3", b"\xe9t\xe9", b"\xed\xa0\x80"]) + b'", ', 1
        )
    if kind == 5:
        return b'{"text": ' + b"[" * 100_000
    if kind == 6:
        return good + chance.choice([b" {}", b"x", b"}", b"]"])
    if kind == 7:
        return good.replace(b"{", b'{"x": ' + b"9" * 5000 + b", ", 1)
    return good.replace(b'"', b'"\x00', 1) if chance.random() < 0.5 else b"\x00" * 9


def test_malformed_records(tmp_path: Path) -> None:
    refused = 0
    for case in range(RECORD_CASES):
        chance = random.Random(f"record {case}")
        fmt = chance.choice(list(GOOD))
        good, field = json.dumps(GOOD[fmt]).encode(), None
        if chance.random() < 0.25:
            bad = broken_line(chance, good)
        else:
            record = copy.deepcopy(GOOD[fmt])
            field = chance.choice(RECORD_MUTATIONS)(chance, fmt, record)
            bad = json.dumps(record).encode()
        path = tmp_path / f"case{case % 50}.jsonl"
        path.write_bytes(good + b"\n" + bad + b"\n\n" + good + b"\n")
        where = f"case {case}: {fmt}: {bad[:200]!r}"
        with pytest.raises(DataError) as caught:
            read_split(config(path, fmt), "train")
            pytest.fail(f"{where}: was taken")
        message = str(caught.value)
        assert f"{path.name}:2" in message and REMEDY.search(message) and "1 of 3 records is faulty" in message, (
            where,
            message,
        )
        assert field is None or ascii(field)[1:-1] in message, (where, message)
        one = config(path, fmt, "drop")
        split = read_split(one, "train")
        refused += split.dropped["data.faulty"]
        assert (len(split), split.dropped) == (2, {"data.faulty": 1}), where
        assert f"{path.name}:2" in split.faults[0] and len(message) < 1500, where
        if case % 10 == 0:
            use(split, one)
            assert sum(sum(part.dropped.values()) for part in stream_split(one, "train", 2)) == 1, where
    assert refused == RECORD_CASES


# -- files --------------------------------------------------------------------------------------------------------------


def table_bytes(kind: str, rows: list[dict[str, Any]]) -> bytes:
    buffer, table = io.BytesIO(), pa.Table.from_pylist(rows)
    if kind == "parquet":
        pq.write_table(table, buffer)
    else:
        with pa.ipc.new_stream(buffer, table.schema) as writer:
            writer.write_table(table)
    return buffer.getvalue()


ROWS = [{"text": f'a "post" {i}', "label": "hate"} for i in range(3)]
WHOLE = {
    "a.json": json.dumps(ROWS).encode(),
    "a.jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "a.csv": b"text,label\n" + b"".join(b'"a ""post"", one",hate\n' for _ in ROWS),
    "a.tsv": b"text\tlabel\n" + b"a post\thate\n" * 3,
    "a.jsonl.gz": gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS).encode(), mtime=0),
    "a.parquet": table_bytes("parquet", ROWS),
    "a.arrow": table_bytes("arrow", ROWS),
}


def damaged(chance: random.Random, content: bytes) -> bytes:
    """Cut, overwritten, doubled, in another encoding, or something else altogether."""
    kind, at = chance.randrange(10), chance.randrange(len(content))
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + bytes(chance.randrange(256) for _ in range(chance.randrange(1, 9))) + content[at + 1 :]
    if kind == 2:
        return content[:at] + content[at + chance.randrange(1, 20) :]
    if kind == 3:
        return content[:at] + content[chance.randrange(len(content)) :]
    if kind == 4:
        return content.decode("latin-1").encode(chance.choice(["utf-16", "utf-32", "utf-7", "utf-16-be"]))
    if kind == 5:
        return chance.choice(
            [b"", b" \n", b"\xef\xbb\xbf", b"[]", b"{}", b"null", b'{"a": [], "b": []}', b"\x00" * 50, b"PAR1"]
        )
    if kind == 6:
        return bytes(chance.randrange(256) for _ in range(chance.randrange(1, 300)))
    if kind == 7:
        return content[:at] + chance.choice([b"\x00", b"\r", b'"', b",", b"\n", b"\xff", b"}", b"]"]) * 3 + content[at:]
    if kind == 8:
        return content.replace(b"text", chance.choice([b"label", b"", b"te\nxt", b"txet", b"\xe9"]))
    return content.replace(b"hate", chance.choice([b"hat", b"", b"\xff", b'""', b"normal" * 30, b"null"]))


def test_malformed_files(tmp_path: Path) -> None:
    """What is still read is what a reader of the file would find; everything else names the file and the remedy."""
    outcomes = {"taken": 0, "refused": 0}
    for case in range(FILE_CASES):
        chance = random.Random(f"file {case}")
        name = chance.choice(list(WHOLE))
        path = tmp_path / name
        path.write_bytes(damaged(chance, WHOLE[name]))
        for faulty in ("error", "drop"):
            one = config(path, chance.choice(["labelled", "auto"]) if faulty == "error" else "labelled", faulty)
            try:
                split = read_split(one, "train")
            except DataError as error:
                message = str(error)
                assert str(path) in message and REMEDY.search(message) and len(message) < 6000, (case, faulty, message)
                outcomes["refused"] += faulty == "error"
            else:
                assert len(split) and (faulty == "drop" or not split.dropped), (case, split)
                outcomes["taken"] += faulty == "error"
                if case % 10 == 0:
                    use(split, SFTConfig.model_validate({**one.to_dict(), "task": TASK}))
    assert sum(outcomes.values()) == FILE_CASES and outcomes["refused"] > FILE_CASES / 2


def test_huge_fields_and_many_faults(tmp_path: Path) -> None:
    path = tmp_path / "huge.jsonl"
    lines = [
        json.dumps({"text": "x" * 2_000_000, "label": "y" * 2_000_000}),
        *[json.dumps({"text": "", "label": "hate"})] * 900,
    ]
    path.write_text("\n".join([*lines, json.dumps(ROWS[0])]))
    with pytest.raises(DataError) as caught:
        read_split(config(path, "labelled"), "train")
    message = str(caught.value)
    assert "901 of 902 records are faulty" in message and "and 896 more" in message and len(message) < 3000
    assert read_split(config(path, "labelled", "drop"), "train").dropped == {"data.faulty": 901}


def test_the_plan_shows_what_was_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from jobs.cli import main
    from tests.posts import write_experiment

    experiment = write_experiment(tmp_path, "org/model", data={"faulty": "drop"})
    path = tmp_path / "train.jsonl"
    path.write_text(
        path.read_text()
        + "not json\n"
        + json.dumps({"text": 5, "label_binary": "hate", "original_id": "x", "target_group_norm": "north"})
    )
    assert main(["plan", str(experiment), "--cluster", "local"]) == 0
    shown = capsys.readouterr().out
    assert (
        "2 dropped by data.faulty" in shown
        and "train.jsonl:25" in shown
        and "train.jsonl:26: field 'text' = 5" in shown
    )
    assert main(["plan", str(experiment), "--cluster", "local", "--set", "data.faulty=error"]) == 2
    assert "2 of 26 records are faulty" in capsys.readouterr().err
