"""Where records come from: every kind of file and folder gives the same records, and a Hub data set is staged first."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sftlib.config.inputs import read_split
from sftlib.config.tree import SFTConfig
from sftlib.errors import DataError

ROWS = [{"prompt": f"ask {i} 🙂", "completion": f"answer\t{i}"} for i in range(5)]


def split(source: Any, name: str = "train", **data: Any) -> list[dict[str, Any]]:
    config = SFTConfig.model_validate({"data": {"train": source, **data}})
    return [record.fields for record in read_split(config, name).records]


def write_jsonl(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path: Path, separator: str = ",") -> Path:
    lines = [
        separator.join(("prompt", "completion")),
        *(f'"{r["prompt"]}"{separator}"{r["completion"]}"' for r in ROWS),
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_all_kinds_of_files_give_the_same_records(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(ROWS), encoding="utf-8")
    write_jsonl(tmp_path / "a.jsonl")
    write_csv(tmp_path / "a.csv")
    write_csv(tmp_path / "a.tsv", "\t")
    (tmp_path / "z.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    (tmp_path / "z.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "a.parquet")
    for name, new in (("stream.arrow", pa.ipc.new_stream), ("file.arrow", pa.ipc.new_file)):
        with new(tmp_path / name, table.schema) as writer:
            writer.write_table(table)
    for path in sorted(tmp_path.iterdir()):
        assert split(str(path)) == ROWS, path.name


def test_a_folder_is_read_in_order_and_by_split(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data" / "train-00001-of-00002.jsonl", ROWS[3:])
    write_jsonl(tmp_path / "data" / "train-00000-of-00002.jsonl", ROWS[:3])
    write_jsonl(tmp_path / "data" / "dev.jsonl", ROWS[:1])
    (tmp_path / "data" / "notes.txt").write_text("not data")
    assert split({"path": str(tmp_path), "split": "train"}) == ROWS
    assert split({"path": str(tmp_path), "split": "validation"}) == ROWS[:1]
    with pytest.raises(DataError, match=r"no file is of data.train.split = 'trian'; there are: dev.jsonl, train-00000"):
        split({"path": str(tmp_path), "split": "trian"})


def test_folders_that_datasets_saved(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["normal", "hate"])})
    posts = Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    posts.save_to_disk(tmp_path / "one")
    expected = [{"text": "a", "label": "hate"}, {"text": "b", "label": "normal"}]
    assert split(str(tmp_path / "one")) == expected
    DatasetDict({"train": posts, "dev": posts.select([1])}).save_to_disk(tmp_path / "several")
    assert split(str(tmp_path / "several")) == expected
    assert split({"path": str(tmp_path / "several"), "split": "dev"}) == expected[1:]
    with pytest.raises(DataError, match=r"saved without the split data.train.split = 'test'; there are: train, dev"):
        split({"path": str(tmp_path / "several"), "split": "test"})
    (tmp_path / "one" / "state.json").write_text('{"_data_files": [{"filename": "../../secret"}]}')
    with pytest.raises(DataError, match="_data_files of file names"):
        split(str(tmp_path / "one"))


class Hub(ThreadingHTTPServer):
    """A stand-in for the Hub: one data set, its commits, and what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.commits: dict[str, dict[str, str]] = {}
        self.refs: dict[str, str] = {}
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/").split("/")
        self.server.asked.append(self.path)
        if path[:4] == ["api", "datasets", "org", "posts"]:
            commit = self.server.refs.get(path[5] if len(path) > 5 else "main", path[5] if len(path) > 5 else "")
            files = self.server.commits.get(commit)
            if files is None:
                return self._say(404, b'{"error": "Revision Not Found"}', {"X-Error-Code": "RevisionNotFound"})
            listing = {"id": "org/posts", "sha": commit, "siblings": [{"rfilename": name} for name in files]}
            return self._say(200, json.dumps(listing).encode())
        if path[:4] == ["datasets", "org", "posts", "resolve"]:
            content = self.server.commits[path[4]]["/".join(path[5:])].encode()
            return self._say(200, content, {"X-Repo-Commit": path[4], "ETag": f'"{hash(content)}"'})
        return self._say(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})

    def _say(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in {
            "Content-Length": str(len(body)),
            "Content-Type": "application/json",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


CARD = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/tr-*\n  - split: held_out\n    path: [data/ho.jsonl]\n---\n# Posts\n"  # fmt: skip
OLD, NEW = "a" * 40, "b" * 40


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def stage(hub: Hub, experiment: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1",
        "SFTLIB_CACHE": str(cache), "HF_HOME": str(cache / "hf"),
    }  # fmt: skip
    command = [sys.executable, "-m", "sftlib", "stage", str(experiment), "--only", "data"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_a_hub_data_set_is_staged_once_and_pinned(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"README.md": CARD, "data/tr-0.jsonl": jsonl(ROWS[:3]), "data/ho.jsonl": jsonl(ROWS[3:]), "model.bin": "x"}
    hub.commits = {OLD: files, NEW: {**files, "data/tr-0.jsonl": jsonl(ROWS[:1])}}
    hub.refs = {"main": OLD, "v1": OLD}
    experiment = tmp_path / "experiment.json"
    sources = {"train": {"hub": "org/posts", "split": "train"}, "test": {"hub": "org/posts", "split": "held_out"}}
    experiment.write_text(json.dumps({"data": sources}))
    cache = tmp_path / "cache"
    monkeypatch.setenv("SFTLIB_CACHE", str(cache))
    with pytest.raises(DataError, match=r"'org/posts' is not in the cache .* run sft stage EXPERIMENT"):
        split(sources["train"], test=sources["test"])
    done = stage(hub, experiment, cache)
    assert done.returncode == 0, done.stderr
    assert f"pinned to commit {OLD}" in done.stderr and not any("model.bin" in asked for asked in hub.asked)
    assert split(sources["train"]) == ROWS[:3] and split(sources["train"], "test", test=sources["test"]) == ROWS[3:]
    # The data set moves on; what was staged stays, until it is staged again.
    hub.refs["main"] = NEW
    assert split(sources["train"]) == ROWS[:3]
    assert stage(hub, experiment, cache).returncode == 0
    assert split(sources["train"]) == ROWS[:1] and split({**sources["train"], "revision": OLD}) == ROWS[:3]
    with pytest.raises(DataError, match="has no split 'tset'; there are: train, held_out"):
        split({**sources["train"], "split": "tset"})


def test_what_the_hub_does_not_have_is_named(hub: Hub, tmp_path: Path) -> None:
    experiment = tmp_path / "experiment.json"
    for source in ({"hub": "org/nothing"}, {"hub": "org/posts", "revision": "v9"}):
        experiment.write_text(json.dumps({"data": {"train": source, "test_size": 1}}))
        done = stage(hub, experiment, tmp_path / "cache")
        assert done.returncode == 1 and f"the data set '{source['hub']}'" in done.stderr, done.stderr
        assert "could not be fetched" in done.stderr and "Traceback" not in done.stderr
    assert not any((tmp_path / "cache" / "datasets").rglob("*.jsonl"))
