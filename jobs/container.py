"""A stage's command and environment in, the same inside an Apptainer (or Singularity) image out; and what it may see there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PYTHON = "python3"  # the image's own
# Of the host, only these reach the inside: which devices the scheduler gave, and the terminal's language.
_ALLOWED = (
    "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "LANG", "TZ",
)  # fmt: skip
_RUNTIME_PREFIXES = ("APPTAINER", "SINGULARITY")
_KEPT = ("APPTAINER_CACHEDIR", "APPTAINER_TMPDIR", "SINGULARITY_CACHEDIR", "SINGULARITY_TMPDIR")


@dataclass(frozen=True)
class Bind:
    """A path of the host that is seen inside."""

    source: str
    target: str
    is_read_only: bool = False

    @classmethod
    def parse(cls, text: str) -> Bind:
        """`path`, `source:target` or `source:target:ro`."""
        source, _, rest = text.partition(":")
        target, _, mode = rest.partition(":")
        return cls(source, target or source, mode == "ro")

    def mount(self) -> str:
        """As --mount takes it: fields of CSV, so that commas, colons, quotes and spaces of a path mean nothing."""
        fields = [f"source={self.source}", f"destination={self.target}"]
        quoted = ",".join('"' + field.replace('"', '""') + '"' for field in fields)
        return f"type=bind,{quoted}" + (",ro" if self.is_read_only else "")


@dataclass(frozen=True)
class Container:
    """The image of a submission and how it is entered."""

    runtime: str
    image: str
    sha256: str
    binds: tuple[Bind, ...] = ()
    is_home_mounted: bool = False
    gpu: str = "auto"
    passed_on: tuple[str, ...] = ()  # names of further host variables
    staging: str | None = None  # node-local folder into which the image is copied

    def command(self, argv: Sequence[str], image: Path, folder: str) -> list[str]:
        """`argv` as it runs inside `image`, in the working folder `folder`."""
        options = ["--cleanenv", "--no-mount", "cwd", "--pwd", folder, *gpu_options(self.gpu)]
        options += [] if self.is_home_mounted else ["--no-home"]
        for bind in self.binds:
            options += ["--mount", bind.mount()]
        return [self.runtime, "--silent", "exec", *options, str(image), *argv]

    def environment(self, env: Mapping[str, str | None]) -> dict[str, str | None]:
        """Changes to the host's environment so that the inside has `env` and the allow-list, and nothing else.

        By prefixed variables, not by --env: what is in argv is seen by every user of the node.
        """
        inside = {name: os.environ[name] for name in (*_ALLOWED, *self.passed_on) if name in os.environ}
        inside |= {name: value for name, value in env.items() if value is not None}
        for name in (name for name, value in env.items() if value is None):
            inside.pop(name, None)
        prefix = f"{self.runtime.upper()}ENV_"
        strangers = [name for name in os.environ if name.startswith(_RUNTIME_PREFIXES) and name not in _KEPT]
        return {**dict.fromkeys([*strangers, "LD_PRELOAD"]), **{prefix + name: text for name, text in inside.items()}}


def gpu_options(wanted: str) -> list[str]:
    """`--nv` or `--rocm`, by the devices that this node has."""
    if wanted == "auto":
        wanted = "nv" if Path("/dev/nvidiactl").exists() else "rocm" if Path("/dev/kfd").exists() else "none"
    return [] if wanted == "none" else [f"--{wanted}"]


def missing_sources(binds: Iterable[Bind]) -> list[str]:
    """Binds whose source is not there; Apptainer itself would only say so in the element's log."""
    return [bind.source for bind in binds if not Path(bind.source).exists()]
