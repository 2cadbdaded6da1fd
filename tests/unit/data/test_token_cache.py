"""The token cache: keyed by content, whole or not there, filled by several builders at once, and by one that is killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sftlib.artifacts import tokencache
from sftlib.artifacts.tokencache import all_entries, find_entry, leftovers, read_entry
from sftlib.config.inputs import Split, StreamedRecords, read_split, stream_split, training_splits
from sftlib.config.tree import SFTConfig
from sftlib.data import preparation, processing
from sftlib.data.processing import SFTDatasetProcessor
from sftlib.data.rows import Rows
from sftlib.data.samples import samples_of
from sftlib.errors import CorruptError, DataError
from sftlib.paths import TokenPaths, token_cache
from tests.conftest import PROJECT
from tests.posts import write_experiment, write_posts
from tests.tiny import TEMPLATE, build_tokenizer

BUILDER = Path(__file__).with_name("cache_builder.py")
COUNT = 1000  # 40 parts of the builder's


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFTLIB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., SFTConfig]:
    write_posts(tmp_path / "posts.jsonl", 60)

    def make(*settings: str, **data: Any) -> SFTConfig:
        path = write_experiment(tmp_path / "experiment", "none/none")
        where = [f"data.train={data.pop('train', tmp_path / 'posts.jsonl')}", "data.workers=1"]
        return SFTConfig.from_file(path, [*where, *settings])

    return make


def processor(config: SFTConfig, template: str = TEMPLATE) -> SFTDatasetProcessor:
    return SFTDatasetProcessor(config, build_tokenizer(template))


def as_lists(rows: Rows) -> list[dict[str, list[int]]]:
    return [rows[index] for index in range(len(rows))]


def entries() -> list[TokenPaths]:
    return [folder for folder, _ in all_entries()]


def test_rows_out_of_the_cache_are_the_rendered_rows(config) -> None:
    one = processor(config())
    split = read_split(one.config, "train")
    rendered = one.renderer.rows(samples_of(split, one.config))
    rows = one.rows("train")
    assert as_lists(rows) == [{"input_ids": row.ids, "labels": row.labels} for row in rendered]
    assert rows.folder is not None and isinstance(rows.ids.base, np.memmap)
    assert as_lists(one.rows(split)) == as_lists(rows)
    assert as_lists(processor(config("data.cache=false")).rows("train")) == as_lists(rows)


def test_a_warm_start_reads_no_record(config, monkeypatch: pytest.MonkeyPatch) -> None:
    first = as_lists(processor(config()).rows("train"))

    def no_reading(*_: object) -> Iterator[Split]:
        raise AssertionError("the cache has it")

    monkeypatch.setattr(processing, "stream_split", no_reading)
    assert as_lists(processor(config("train.learning_rate=0.5", "data.workers=3")).rows("train")) == first
    with pytest.raises(AssertionError):
        processor(config("train.max_length=512")).rows("train")


def test_whatever_shapes_a_token_is_in_the_key(config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = processor(config()).key("train")
    moved = tmp_path / "elsewhere.jsonl"
    moved.write_bytes((tmp_path / "posts.jsonl").read_bytes())
    assert processor(config(train=moved)).key("train") == key, "content counts, not its path"
    assert processor(config("lora.r=64", "data.streaming=true")).key("train") == key
    moved.write_text(moved.read_text().replace("number 7", "number 8", 1))
    others = {
        "data": processor(config(train=moved)),
        "template": processor(config(), TEMPLATE.replace("\n", " ")),
        "template's variables": processor(config("prompt.date='2001-02-03'")),
        "system prompt": processor(config("prompt.system=another")),
        "target": processor(config("task.target=json")),
        "mask": processor(config("train.loss_on=all")),
        "length": processor(config("train.max_length=99")),
        "policy": processor(config("train.overlong=drop")),
        "filter": processor(config("data.train.where={source_dataset: forum}")),
        "seed of splits": processor(config("data.seed=7")),
    }
    function = tmp_path / "mine.py"
    function.write_text("def make(record):\n    return {'prompt': record['text'], 'completion': 'a'}\n")
    formatting = f"data.formatting_func={function}:make"
    others["formatting function"] = processor(config(formatting, "task.type=generation"))
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["trouble"])
    others["tokenizer"] = SFTDatasetProcessor(config(), tokenizer)
    keys = {name: other.key("train") for name, other in others.items()}
    function.write_text(function.read_text().replace("'a'", "'b'"))
    keys["the function's own text"] = processor(config(formatting, "task.type=generation")).key("train")
    monkeypatch.setattr(processing, "code_digest", lambda: "other code")
    keys["code"] = processor(config()).key("train")
    monkeypatch.setattr(processing.metadata, "version", lambda name: "other library")
    keys["libraries"] = processor(config()).key("train")
    assert len({key, *keys.values()}) == len(keys) + 1, keys


def test_a_split_that_was_made_by_hand_is_known_by_its_records(config) -> None:
    one = processor(config())
    split = read_split(one.config, "train")
    half = replace(split, records=split.records[:30])
    assert len(one.rows(split)) == 60 and len(one.rows(half)) == 30


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_give_the_same_files_as_one(config, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr(processing, "PART", 7)
    alone = processor(config("data.cache=false")).rows("train")
    monkeypatch.setattr(preparation, "_context", lambda: multiprocessing.get_context(method))
    several = processor(config("data.workers=2")).rows("train")
    for name in ("ids", "supervised", "offsets"):
        assert (getattr(alone, name) == getattr(several, name)).all()
    assert [path.name for path in token_cache().iterdir()] == [several.folder.root.name]


def test_records_are_not_read_ahead_of_the_work(config, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in a queue lies in memory."""
    monkeypatch.setattr(processing, "PART", 2)
    read, most = [], [0]
    original = stream_split

    def counted(*arguments: Any) -> Iterator[Split]:
        for part in original(*arguments):
            read.append(part)
            yield part

    def tick(done: int) -> None:
        most[0] = max(most[0], len(read) - done // 2)

    monkeypatch.setattr(processing, "stream_split", counted)
    processor(config("data.workers=2")).rows("train", tick)
    assert len(read) == 30 and most[0] <= 6


def test_an_error_names_the_record_wherever_it_was_found_and_leaves_nothing(
    config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processing, "PART", 7)
    path = write_posts(tmp_path / "bad.jsonl", 100)
    path.write_text(path.read_text() + '{"original_id": "x", "text": "no label"}\n')
    with pytest.raises(DataError, match=r"bad.jsonl:101: field 'label_binary' is missing"):
        processor(config("data.workers=2", train=path)).rows("train")
    write_posts(path, 100)
    picky = (
        TEMPLATE
        + "{% for m in messages %}{% if 'number 77' in m.content %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
    )
    with pytest.raises(DataError, match=r"bad.jsonl:78: .*cannot render this conversation: no"):
        processor(config("data.workers=2", train=path), picky).rows("train")
    assert list(token_cache().iterdir()) == []


def test_streamed_records_are_read_anew_and_none_is_held(config) -> None:
    for settings in ((), ("data.sample_size=20",), ("data.validation_size=0.2", "data.stratify=[label_binary]")):
        plain, streamed = config(*settings), config(*settings, "data.streaming=true")
        for name in training_splits(plain):
            held, read = read_split(plain, name), read_split(streamed, name)
            assert isinstance(read.records, StreamedRecords) and len(read) == len(held) > 0
            assert list(read.records) == list(held.records) == [read.records[i] for i in range(len(read))]
            assert read.records[3:9] == held.records[3:9]
            assert (read.sha256, read.available, read.format) == (held.sha256, held.available, held.format)
            assert as_lists(processor(streamed).rows(read)) == as_lists(processor(plain).rows(name))


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(content[:-4])
    elif how == "gone":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "how"), [("ids", "cut"), ("offsets", "gone"), ("header", "flipped"), ("header", "cut"), ("header", "gone")]
)
def test_a_damaged_entry_is_built_anew(config, file: str, how: str) -> None:
    one = processor(config())
    whole = as_lists(one.rows("train"))
    damage(getattr(entries()[0], file), how)
    assert as_lists(one.rows("train")) == whole
    assert isinstance(read_entry(entries()[0], deep=True).tokens, int)
    assert [path.name for path in token_cache().iterdir()] == [one.key("train")]


def test_a_flipped_bit_in_an_array_is_found_by_its_hash(config) -> None:
    processor(config()).rows("train")
    (folder,) = entries()
    damage(folder.supervised, "flipped")
    read_entry(folder)  # sizes are right
    with pytest.raises(CorruptError, match="another sha256"):
        read_entry(folder, deep=True)


def test_without_the_cache_rows_leave_nothing(config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing.tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    rows = processor(config("data.cache=false")).rows("train")
    assert len(rows[0]["input_ids"]) and len(list((tmp_path / "scratch").iterdir())) == 1
    del rows
    assert list((tmp_path / "scratch").iterdir()) == [] and not token_cache().exists()


class Builders:
    """Processes that fill one cache at once."""

    def __init__(self, folder: Path) -> None:
        write_experiment(folder, "none/none", train=COUNT)
        values = json.loads((folder / "experiment.json").read_text())
        values["data"]["workers"] = 2
        (folder / "experiment.json").write_text(json.dumps(values))
        self.folder, self.started = folder, []

    def start(self, moment: str = "none", **environment: str) -> subprocess.Popen[str]:
        search = f"{PROJECT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        child = subprocess.Popen(
            [sys.executable, str(BUILDER), str(self.folder / "experiment.json"), moment],
            env={**os.environ, "PYTHONPATH": search, **environment},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.started.append(child)
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        return child

    def go(self) -> None:
        (self.folder / "go").touch()

    def result(self, child: subprocess.Popen[str]) -> dict[str, Any]:
        output, _ = child.communicate(timeout=120)
        assert child.returncode == 0
        return json.loads(output)


@pytest.fixture
def builders(tmp_path: Path) -> Iterator[Builders]:
    found = Builders(tmp_path / "shared")
    yield found
    for child in found.started:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def assert_one_whole_entry(key: str) -> None:
    """And nothing else in the folder: no lock, no leftover."""
    assert [path.name for path in token_cache().iterdir()] == [key]
    entry = read_entry(TokenPaths(token_cache() / key), deep=True)
    assert (entry.records, entry.rows) == (COUNT, COUNT)


def test_two_builders_at_once_and_a_third_that_waits_make_one_whole_entry(builders: Builders) -> None:
    first, second, waiting = builders.start(), builders.start(), builders.start(LOCAL_RANK="1", RANK="1")
    builders.go()
    results = [builders.result(child) for child in (first, second, waiting)]
    assert results[0] == results[1] == results[2]
    assert_one_whole_entry(results[0]["key"])


@pytest.mark.parametrize("moment", ["begin", "middle", "header", "rename", "published"])
def test_of_a_builder_that_is_killed_nothing_is_read_as_whole(builders: Builders, moment: str) -> None:
    killed, other = builders.start(moment), builders.start()
    assert killed.wait(timeout=120) == -9
    before = {path.name for path in token_cache().iterdir()}
    assert len(before) == 1 and all(name.startswith(".") != (moment == "published") for name in before)
    builders.go()
    result = builders.result(other)
    found = find_entry(result["key"])
    assert found is not None and found[1].rows == COUNT
    for path in token_cache().glob(".*.tmp"):
        age(path)
    assert tokencache.remove_leftovers() == (0 if moment == "published" else 1)
    assert_one_whole_entry(result["key"])
    assert_no_process_of(killed.pid)


def age(folder: Path, hours: float = 1) -> None:
    then = time.time() - 3600 * hours
    for path in (*folder.iterdir(), folder):
        os.utime(path, (then, then))


def assert_no_process_of(parent: int) -> None:
    """Workers end by themselves when their builder is killed."""
    deadline = time.monotonic() + 20
    marker = str(BUILDER).encode()
    while time.monotonic() < deadline:
        left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if _is_orphan(path, marker)]
        if not left:
            return
        time.sleep(0.2)
    raise AssertionError(f"workers of {parent} are left: {left}")


def _is_orphan(path: Path, marker: bytes) -> bool:
    try:
        parent = int((path.parent / "stat").read_text().rpartition(")")[2].split()[1])
        return marker in path.read_bytes() and parent != os.getpid()
    except (OSError, IndexError):
        return False


def test_a_builder_that_may_live_is_left_alone(builders: Builders) -> None:
    killed = builders.start("middle")
    killed.wait(timeout=120)
    (left,) = token_cache().glob(".*.tmp")
    assert leftovers() == [], "dead, and silent for seconds only: the process id may be another container's"
    age(left)
    assert leftovers() == [left]
    elsewhere = left.with_name(left.name.replace(tokencache.socket.gethostname(), "other-host"))
    left.rename(elsewhere)
    assert leftovers() == [], "of another host, silent for an hour"
    age(elsewhere, hours=25)
    assert leftovers() == [elsewhere]
    living = elsewhere.with_name(left.name.replace(str(killed.pid), str(os.getpid())))
    elsewhere.rename(living)
    age(living)
    assert leftovers() == [], "its process lives"
