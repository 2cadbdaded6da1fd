"""The image and the binds of an experiment, looked at before anything is submitted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from jobs.container import Bind, missing_sources
from jobs.images import remembered_sha256
from sftlib.config.problems import Problem
from sftlib.config.tree import SFTConfig
from sftlib.paths import cache_dir


def problems(config: SFTConfig) -> Iterator[Problem]:
    """A missing image is found with the experiment's other keys; here its hash, the binds, and the runtime."""
    container = config.container
    if container.runtime == "none" or not container.image:
        return
    image = Path(container.image)
    if container.sha256 and image.is_file() and (found := known_sha256(image)) != container.sha256:
        message = f"{image} has sha256 {found}: another image than was asked for; mend container.image or this line"
        yield Problem("container.sha256", message, container.sha256)
    for index, text in enumerate(container.binds):
        for gone in missing_sources([Bind.parse(os.path.expandvars(text))]):
            yield Problem(f"container.binds[{index}]", f"{gone} is not there: make it, or take the bind out", text)
    if config.cluster.scheduler == "local" and shutil.which(container.runtime) is None:
        yield Problem(
            "container.runtime",
            f"there is no {container.runtime} on this machine: containers/install-apptainer.sh installs one",
            container.runtime,
        )


def image_sha256(config: SFTConfig) -> str:
    """The hash by which every node will know the image: what the experiment says, else what the file has now; "" where
    there is no image, or one that is a folder."""
    container = config.container
    if container.runtime == "none" or not container.image or Path(container.image).is_dir():
        return ""
    return container.sha256 or known_sha256(Path(container.image))


def known_sha256(file: Path) -> str:
    """The hash of an image or of weights, remembered in the cache."""
    return remembered_sha256(file, cache_dir() / "image-hashes")
