"""Sections `cluster` and `container`: where elements run. Usually filled by a profile of slurm/profiles."""

from __future__ import annotations

from typing import Literal

from sftlib.config.base import Section, knob, knobs


class Resources(Section):
    """What one element asks for, on each of its nodes."""

    time_min: int = knob(60, "walltime in minutes", ge=1)
    cpus: int = knob(8, "CPU cores a task", ge=1)
    memory_gb: int | None = knob(None, "host memory a node; default: the partition's", ge=1)
    gpus: int | None = knob(
        None, "devices a node; default: parallel.gpus_per_node for training, 1 for prediction", ge=0
    )


class ClusterSection(Section):
    """The scheduler and its habits."""

    profile: str | None = knob(None, "name in slurm/profiles or path; default: local where there is no sbatch")
    scheduler: Literal["local", "slurm"] = knob("local", "who starts the elements")
    slots: int | None = knob(
        None, "elements at once on this machine (local); default: devices, or cores / threads", ge=1
    )
    partition: str | None = knob(None, "Slurm partition")
    account: str | None = knob(None, "Slurm account")
    qos: str | None = knob(None, "Slurm quality of service")
    constraint: str | None = knob(None, "Slurm node features")
    gpu_request: str = knob("gpus-per-node={n}", "how devices are asked for: gpus-per-node={n}, gres=gpu:a100:{n}, ...")
    prepare: Resources = knobs(
        "jobs without a device: the token cache before any training, copies of adapters that are there", Resources
    )
    device: str | None = knob(
        None, "device of the nodes, for estimates of memory and time: a100-80, h100, h200, mi300x, ..."
    )
    train: Resources = knobs("an element of the training array", Resources)
    predict: Resources = knobs("an element of a prediction array", Resources)
    merge: Resources = knobs("the last job", Resources)
    exclusive: bool = knob(False, "whole nodes")
    signal_lead_s: int = knob(300, "seconds between the warning signal and the walltime", ge=30)
    max_parallel: int | None = knob(None, "elements of one array that run at once (%N)", ge=1)
    max_array_size: int = knob(1001, "the cluster's MaxArraySize: the largest index is one less", ge=2)
    max_submit: int | None = knob(None, "jobs a user may have submitted, array elements counted", ge=1)
    max_requeues: int = knob(20, "times an element is requeued before it counts as failed", ge=0)
    poll_s: int = knob(30, "seconds between two queries of the scheduler", ge=30)
    setup: list[str] = knobs("shell lines before the element, such as module load", list)
    environment: dict[str, str] = knobs("variables that elements get, such as NCCL_SOCKET_IFNAME")
    rendezvous: Literal["auto", "127.0.0.1"] = knob(
        "auto", "host of the torchrun rendezvous; auto: first node of the job"
    )
    scratch: str | None = knob(None, "node-local folder for images, caches and temporary files")
    stage_image: bool = knob(False, "copy the image to scratch once a node")
    exclude: list[str] = knobs("nodes never to use", list)
    mail: str | None = knob(None, "address for Slurm's end and fail mails")


class ContainerSection(Section):
    """The image in which stages run."""

    runtime: Literal["none", "apptainer", "singularity"] = knob("none", "none: the Python of the submit side")
    image: str | None = knob(None, "path of the SIF image or sandbox folder")
    sha256: str | None = knob(None, "expected hash of the image; verified once a node", pattern=r"^[0-9a-f]{64}$")
    binds: list[str] = knobs("host paths visible inside, as path or source:target[:ro]", list)
    home: bool = knob(False, "mount the user's home folder")
    gpu: Literal["auto", "nv", "rocm", "none"] = knob(
        "auto", "device libraries of the host; auto looks at what is there"
    )
    environment: list[str] = knobs("names of further host variables passed in; all others are not", list)
