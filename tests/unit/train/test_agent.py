"""What torchrun's agent makes of the ends of its ranks."""

from __future__ import annotations

import pytest

from sftlib.train.agent import exit_code


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ({0: 75, 1: 75}, 75),
        ({1: -9, 0: 1}, 137),  # rank 0 only met a peer that was gone
        ({0: 1, 1: 65}, 65),
        ({0: -15, 1: 64}, 64),
        ({0: -15, 1: -15}, 143),
        ({3: 1, 0: -15}, 1),
        ({2: -6, 0: -15}, 134),
    ],
)
def test_the_code_that_says_most_is_the_agents_own(codes: dict[int, int], expected: int) -> None:
    assert exit_code(codes) == expected
