"""What elements took over all their starts: from the lines that supervisors leave, and from starts that never ended well."""

from __future__ import annotations

from jobs.attempts import all_attempts
from sftlib.paths import RunPaths


def gpu_hours(paths: RunPaths) -> dict[str, float]:
    """Element -> device hours; elements without devices are left out."""
    hours: dict[str, float] = {}
    for attempt in all_attempts(paths):
        for element, starts in attempt.all_use().items():
            taken = sum(start["seconds"] * start["gpus"] for start in starts)
            hours[element] = hours.get(element, 0.0) + taken / 3600
    return {element: taken for element, taken in hours.items() if taken}
