"""What all sections share: strict types, unknown keys refused, frozen once read, every field documented."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of the experiment file. Strict: `"32"` is not a number, `true` is not 1; an int is a float."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=False)


def knob(default: Any, description: str, **limits: Any) -> Any:
    """A field with its default, its unit and effect, and its limits."""
    return Field(default, description=description, **limits)


def knobs(description: str, of: type = dict) -> Any:
    """A field whose default is an empty container or a section of defaults."""
    return Field(default_factory=of, description=description)
