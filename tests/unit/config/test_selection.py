"""Parts, samples and subsets: the same in every process, by content and not by place, in proportion, disjoint."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftlib.config.inputs import Split, named_splits, read_split, split_digest, stream_split
from sftlib.config.tree import SFTConfig
from sftlib.errors import DataError

RECORDS = [
    {"text": f"post {index} {'x' * (index % 40)}", "label": "ab"[index % 4 == 0], "group": "nsw"[index % 3], "source": "pq"[index % 5 == 0]}
    for index in range(240)
]  # fmt: skip


def config(folder: Path, records: list[dict[str, Any]] = RECORDS, **data: Any) -> SFTConfig:
    path = folder / "all.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return SFTConfig.model_validate(
        {
            "data": {
                "train": str(path),
                "format": "labelled",
                "group_columns": ["group"],
                "source_column": "source",
                **data,
            }
        }
    )


def texts(split: Split) -> list[str]:
    return [record.fields["text"] for record in split.records]


def splits(folder: Path, records: list[dict[str, Any]] = RECORDS, **data: Any) -> dict[str, Split]:
    one = config(folder, records, **data)
    return {name: read_split(one, name) for name in named_splits(one)}


def test_parts_are_disjoint_and_complete(tmp_path: Path) -> None:
    parts = splits(tmp_path, test_size=0.25, validation_size=30)
    assert {name: len(split) for name, split in parts.items()} == {"train": 150, "validation": 30, "test": 60}
    everything = [text for split in parts.values() for text in texts(split)]
    assert sorted(everything) == sorted(record["text"] for record in RECORDS)
    order = {record["text"]: index for index, record in enumerate(RECORDS)}
    assert all(texts(split) == sorted(texts(split), key=order.get) for split in parts.values())


def test_the_test_part_does_not_depend_on_order_or_on_validation(tmp_path: Path) -> None:
    first = set(texts(splits(tmp_path, test_size=60)["test"]))
    assert first == set(texts(splits(tmp_path, test_size=60, validation_size=30)["test"]))
    shuffled = random.Random(1).sample(RECORDS, len(RECORDS))
    assert first == set(texts(splits(tmp_path, shuffled, test_size=60)["test"]))
    assert first != set(texts(splits(tmp_path, test_size=60, seed=1)["test"]))


def test_the_same_text_is_never_on_both_sides(tmp_path: Path) -> None:
    doubled = [{**record, "text": f" {record['text'].upper()}"} for record in RECORDS[::3]] + RECORDS
    for seed in range(5):
        parts = splits(tmp_path, doubled, test_size=100, validation_size=0.1, seed=seed)
        seen = [{" ".join(text.casefold().split()) for text in texts(split)} for split in parts.values()]
        assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
        assert len(parts["test"]) == 100


def test_stratified_parts_keep_the_proportions(tmp_path: Path) -> None:
    parts = splits(tmp_path, test_size=40, stratify=["label", "group"])
    whole = Counter((record["label"], record["group"]) for record in RECORDS)
    test = Counter((record.fields["label"], record.fields["group"]) for record in parts["test"].records)
    assert all(abs(test[key] - count / 6) <= 1 for key, count in whole.items())


def test_a_quick_subset_looks_like_the_whole(tmp_path: Path) -> None:
    for count in (1, 24, 100):
        one = config(tmp_path)
        path = one.data.train.path if one.data.train else ""
        split = read_split(config(tmp_path, train={"path": path, "subset": count}), "train")
        assert (len(split), split.available) == (count, 240)
        whole = Counter((r["label"], r["group"], r["source"]) for r in RECORDS)
        some = Counter(tuple(r.fields[key] for key in ("label", "group", "source")) for r in split.records)
        assert all(abs(some[key] - size * count / 240) < 1 for key, size in whole.items())


def test_a_subset_by_length_goes_from_the_shortest_to_the_longest(tmp_path: Path) -> None:
    path = config(tmp_path).data.train.path  # type: ignore[union-attr]
    source = {"path": path, "subset": 12, "subset_by": "length"}
    lengths = sorted(map(len, texts(read_split(config(tmp_path, train=source), "train"))))
    everything = sorted(len(record["text"]) for record in RECORDS)
    assert (lengths[0], lengths[-1], len(lengths)) == (everything[0], everything[-1], 12)
    assert max(b - a for a, b in itertools.pairwise(lengths)) <= 6


def test_a_sample_of_train_and_what_there_was(tmp_path: Path) -> None:
    one = splits(tmp_path, sample_size=50, test_size=40)["train"]
    assert (len(one), one.available) == (50, 200)
    assert len(splits(tmp_path, sample_size=5000)["train"]) == 240


def test_a_part_of_train_can_be_a_quick_subset(tmp_path: Path) -> None:
    parts = splits(tmp_path, test_size=60, test={"subset": 10})
    assert (len(parts["test"]), parts["test"].available, len(parts["train"])) == (10, 60, 180)


@pytest.mark.parametrize(
    "data",
    [{}, {"test_size": 60}, {"sample_size": 33}, {"test_size": 0.1, "validation_size": 0.2, "stratify": ["label"]}],
)
def test_a_stream_gives_the_same_records(tmp_path: Path, data: dict[str, Any]) -> None:
    one = config(tmp_path, **data)
    for name in named_splits(one):
        parts = list(stream_split(one, name, 16))
        assert [record for part in parts for record in part.records] == read_split(one, name).records
        assert max(map(len, parts)) <= 16


def test_the_digest_follows_whatever_changes_the_choice(tmp_path: Path) -> None:
    base: dict[str, Any] = {"test_size": 60}
    digests = [split_digest(config(tmp_path, **base, **more), "test") for more in (
        {}, {"seed": 1}, {"stratify": ["label"]}, {"test": {"subset": 5}}, {"validation_size": 5}, {"faulty": "drop"},
    )]  # fmt: skip
    digests.append(split_digest(config(tmp_path, test_size=61), "test"))
    digests.append(split_digest(config(tmp_path, RECORDS[1:], **base), "test"))
    assert len(set(digests)) == len(digests)
    assert (
        read_split(config(tmp_path, **base), "test").sha256
        == split_digest(config(tmp_path, **base), "test")
        == digests[0]
    )
    whole = config(tmp_path)
    assert split_digest(whole, "train") == split_digest(config(tmp_path, sample_size=5), "train")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"test_size": 240}, "leave some of 240"),
        ({"test_size": 0.001}, "take at least 1"),
        ({"test_size": 120, "validation_size": 120}, "leaves no record to train on"),
        ({"stratify": ["labl"], "test_size": 5}, "did you mean 'label'"),
    ],
)
def test_sizes_that_cannot_be_are_refused(tmp_path: Path, data: dict[str, Any], expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        splits(tmp_path, **data)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_parts_of_any_sizes(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], share: float, seed: int
) -> None:
    """Texts that stand several times stay together, and the part is as large as it can be without parting them."""
    records = [
        {"text": f"t{i}", "label": "ab"[i % 2], "group": "n", "source": "p"}
        for i, size in enumerate(sizes)
        for _ in range(size)
    ]
    count = round(share * len(records))
    if not 0 < count < len(records):
        return
    parts = splits(tmp_path_factory.mktemp("p"), records, test_size=count, seed=seed, stratify=["label"])
    test, train = Counter(texts(parts["test"])), Counter(texts(parts["train"]))
    assert not set(test) & set(train) and test + train == Counter(record["text"] for record in records)
    assert len(parts["test"]) <= count
    assert all(size > count - len(parts["test"]) for size in train.values())


def test_another_process_chooses_the_same(tmp_path: Path) -> None:
    """Whatever its seed of hashes: only the content and data.seed decide."""
    one = config(tmp_path, test_size=50, stratify=["label", "group"], sample_size=60)
    program = (
        "import sys, json; from sftlib.config.tree import SFTConfig; from sftlib.config.inputs import read_split\n"
        "one = SFTConfig.model_validate(json.load(sys.stdin))\n"
        "print(json.dumps({n: [r.line for r in read_split(one, n).records] for n in ('train', 'test')}))"
    )
    expected = {name: [record.line for record in read_split(one, name).records] for name in ("train", "test")}
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program], input=json.dumps(one.to_dict()), capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )  # fmt: skip
        assert json.loads(done.stdout) == expected


@pytest.mark.parametrize("test", [{"test_size": 60}, {}])
def test_a_quick_look_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], test: dict[str, Any]
) -> None:
    from jobs.cli import main

    path = config(tmp_path).data.train.path  # type: ignore[union-attr]
    experiment = tmp_path / "experiment.json"
    data = {"train": path, **(test or {"test": path}), "group_columns": ["group"]}
    task = {"type": "classification", "labels": ["a", "b"], "positive": "a"}
    experiment.write_text(json.dumps({"data": data, "task": task, "model": {"name_or_path": "org/model"}}))
    assert main(["plan", str(experiment), "--cluster", "local", "--subset", "24", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["data"]["test"]
    assert (told["records"], told["available"]) == (24, 60 if test else 240)
    assert set(told["counts"]["group"].values()) <= {7, 8, 9}
