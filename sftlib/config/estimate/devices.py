"""Devices by name: memory, peak of dense 16-bit matrix products, and what LoRA training makes of that peak.

Peaks are the vendors' figures without sparsity; shares are public measurements of 4k packed bf16 LoRA where there are
any (an H100: 12,500 tokens/s of an 8B model, 41%), and are replaced by what earlier runs on the same device measured.
"""

from __future__ import annotations

from dataclasses import dataclass

TYPICAL_SHARE = 0.40  # of the peak, bf16 LoRA
QUANTISED_SHARE = 0.8  # of the unquantised speed: weights are expanded before each product


@dataclass(frozen=True)
class Device:
    """What a planner must know of a device."""

    name: str
    memory_gb: float
    peak_flops: float


DEVICES = {
    device.name: device
    for device in (
        Device("a100-40", 40, 312e12),
        Device("a100-80", 80, 312e12),
        Device("h100", 80, 989e12),
        Device("h100-pcie", 80, 756e12),
        Device("h200", 141, 989e12),
        Device("b200", 180, 2250e12),
        Device("gh200", 96, 989e12),
        Device("l40s", 48, 362e12),
        Device("a40", 48, 150e12),
        Device("a10", 24, 125e12),
        Device("v100-16", 16, 125e12),
        Device("v100-32", 32, 125e12),
        Device("rtx4090", 24, 165e12),
        Device("mi250x", 64, 191.5e12),  # one of its two dies, which is what a process sees
        Device("mi300x", 192, 1307e12),
    )
}
# What a vendor's tool prints, in pieces -> our name; the first entry whose pieces are all there wins.
_PRINTED = [
    (("h100", "pcie"), "h100-pcie"), (("h200",), "h200"), (("gh200",), "gh200"), (("h100",), "h100"), (("b200",), "b200"),
    (("a100", "80gb"), "a100-80"), (("a100", "40gb"), "a100-40"), (("l40s",), "l40s"), (("a40",), "a40"), (("a10",), "a10"),
    (("v100", "32gb"), "v100-32"), (("v100",), "v100-16"), (("4090",), "rtx4090"), (("mi250x",), "mi250x"),
    (("mi300x",), "mi300x"),
]  # fmt: skip


def device_named(text: str) -> Device | None:
    """The device of a name of ours, or of the name that a vendor's tool prints."""
    folded = text.lower().replace(" ", "-")
    if folded in DEVICES:
        return DEVICES[folded]
    words = folded.replace("_", "-").split("-")
    return next((DEVICES[name] for pieces, name in _PRINTED if all(piece in words for piece in pieces)), None)
