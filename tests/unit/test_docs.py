"""What the manual and the README say is still so."""

from __future__ import annotations

import re

import pytest

from tests.conftest import PROJECT

PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]


def test_the_reference_of_keys_is_current() -> None:
    from jobs.commands.schema import reference_page

    written = (PROJECT / "docs" / "experiment.md").read_text(encoding="utf-8")
    assert written == reference_page() + "\n", "sft schema --markdown > docs/experiment.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_commands_of_the_readme_exist() -> None:
    from jobs.cli import COMMANDS

    named = set(re.findall(r"\bsft ([a-z]+)\b", (PROJECT / "README.md").read_text(encoding="utf-8")))
    assert named and named <= set(COMMANDS)
