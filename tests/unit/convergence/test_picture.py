"""When a cell's picture is drawn, and when not even its log is read."""

from __future__ import annotations

import json
import os

from sftlib.convergence import picture
from sftlib.convergence.picture import draw_logged
from sftlib.paths import RunPaths


def test_a_log_is_read_only_where_it_is_newer_than_the_picture(tmp_path, monkeypatch) -> None:
    """A merge of a thousand cells has read each log for the report already."""
    paths = RunPaths(tmp_path).cell("main")
    reads, read = [], picture.metrics_curves
    monkeypatch.setattr(picture, "metrics_curves", lambda path: reads.append(path) or read(path))
    draw_logged(paths)
    assert not paths.convergence.exists()  # nothing was logged yet
    paths.root.mkdir(parents=True)
    paths.metrics.write_text("".join(json.dumps({"step": step, "loss": 1 / step}) + "\n" for step in range(1, 9)))
    draw_logged(paths)
    drawn = paths.convergence.read_bytes()
    assert drawn.startswith(b"\x89PNG")
    reads.clear()
    draw_logged(paths)
    assert not reads and paths.convergence.read_bytes() == drawn
    os.utime(paths.convergence, (1, 1))
    draw_logged(paths)
    assert reads and paths.convergence.stat().st_mtime > 1
