"""A stand-in for a model hub's HTTP interface, as far as an upload needs it: repositories, preupload, LFS, commits."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

TOKEN = "hf_" + "a-token-for-tests"


@dataclass
class Hub:
    """What was sent to it."""

    url: str = ""
    repositories: dict[str, bool] = field(default_factory=dict)  # name -> is private
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)  # repository -> path -> content
    stored: dict[str, bytes] = field(default_factory=dict)  # LFS objects by sha256
    commits: list[str] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    may_write: bool = True


@contextmanager
def local_hub() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._note()
        if not self._may():
            return
        name = "/".join(self.path.split("/")[3:5]).partition("?")[0]
        if name not in self.hub.repositories:
            return self._say(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        self._say(
            200,
            {
                "id": name,
                "modelId": name,
                "private": self.hub.repositories[name],
                "sha": "0" * 40,
                "siblings": [],
                "tags": [],
            },
        )

    def do_POST(self) -> None:
        self._note()
        body = self._body()
        if not self._may():
            return
        if self.path == "/api/repos/create":
            return self._create(json.loads(body))
        if self.path == "/api/validate-yaml":  # the front matter of a model card
            yaml.safe_load(json.loads(body)["content"].split("---")[1])
            return self._say(200, {"errors": [], "warnings": []})
        name = (
            "/".join(self.path.split("/")[3:5]) if self.path.startswith("/api/") else self.path[1:].partition(".git")[0]
        )
        if "/preupload/" in self.path:
            files = json.loads(body)["files"]
            is_large = lambda path: path.endswith((".safetensors", ".bin"))  # noqa: E731
            modes = [
                {"path": f["path"], "uploadMode": "lfs" if is_large(f["path"]) else "regular", "shouldIgnore": False}
                for f in files
            ]
            return self._say(200, {"files": modes})
        if self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {"oid": o["oid"], "size": o["size"], "actions": {"upload": {"href": f"{self.hub.url}/store/{o['oid']}", "header": {}}}}
                for o in json.loads(body)["objects"]
            ]  # fmt: skip
            return self._say(200, {"transfer": "basic", "objects": objects})
        if "/commit/" in self.path:
            return self._commit(name, body)
        self._say(404, {"error": f"the stand-in does not know {self.path}"})

    def do_PUT(self) -> None:
        self._note()
        content = self._body()
        oid = self.path.rpartition("/")[2]
        if hashlib.sha256(content).hexdigest() != oid:
            return self._say(400, {"error": "sha256 differs"})
        self.hub.stored[oid] = content
        self._say(200, {})

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        if name in self.hub.repositories:
            return self._say(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"})
        self.hub.repositories[name] = asked.get("visibility") == "private" or bool(asked.get("private"))
        self._say(200, {"url": f"{self.hub.url}/{name}", "name": name, "id": name})

    def _commit(self, name: str, body: bytes) -> None:
        files = self.hub.files.setdefault(name, {})
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                self.hub.commits.append(value["summary"])
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
        self._say(
            200,
            {
                "success": True,
                "commitOid": "1" * 40,
                "commitUrl": f"{self.hub.url}/{name}/commit/{'1' * 40}",
                "hookOutput": "",
            },
        )

    def _may(self) -> bool:
        """Whether the token is known and may write; the answer is sent where it is not."""
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._say(401, {"error": "Invalid credentials"})
            return False
        if not self.hub.may_write:
            self._say(403, {"error": "You do not have the right to write"})
            return False
        return True

    def _note(self) -> None:
        self.hub.requests.append((self.command, self.path))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _say(self, status: int, value: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **(headers or {}),
        }.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)
