"""report.html in a real browser, from a file: both widths, both themes, no complaint, no request, all numbers right."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftlib.config.rundir import Run
from sftlib.report.merge import merge_run
from tests.unit.report.browser import Browser, browser, chromium
from tests.unit.report.reading_pages import at, path_of, says
from tests.unit.report.synthetic import make_run
from tests.unit.report.test_report_page import nasty_world

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not chromium() and not os.environ.get("CI"), reason="needs Chromium: .ci/system-packages"),
]
WIDTHS, THEMES = (1280, 390), ("light", "dark")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_run(tmp_path_factory.mktemp("a b"), nasty_world(), 2)
    merge_run(run)
    return run


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with (
        tempfile.TemporaryDirectory(prefix="sftlib-chromium-", ignore_cleanup_errors=True) as folder,
        browser(Path(folder)) as opened,
    ):
        yield opened


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_opens_without_complaint_or_request(
    run: Run, window: Browser, width: int, theme: str, tmp_path: Path
) -> None:
    window.open(run.paths.report.html, width, theme)
    assert window.complaints() == []
    assert window.requests() == [run.paths.report.html.resolve().as_uri()]
    assert window.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    dark = window.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, dark.strip("rgb()").split(","))) < 200) == (theme == "dark")
    assert window.picture(tmp_path / "page.png").stat().st_size > 50_000


def test_its_numbers_are_those_of_the_file(run: Run, window: Browser) -> None:
    window.open(run.paths.report.html, 1280, "light")
    script = "[...document.querySelectorAll('[data-key]')].map(e => [e.tagName, e.dataset.key, e.dataset.value, e.textContent])"
    metrics = json.loads(run.paths.report.metrics_json.read_text())
    shown = window.evaluate(script)
    assert len(shown) > 500
    for tag, key, value, text in shown:
        assert json.loads(value) == at(metrics, path_of(key))
        assert tag == "circle" or says(text, json.loads(value)), key


def test_tables_sort_with_undefined_last(run: Run, window: Browser) -> None:
    window.open(run.paths.report.html, 1280, "light")
    script = """(() => {
      const table = [...document.querySelectorAll('table.sortable')].find(t => t.caption.textContent.startsWith('Groups of'));
      const heads = [...table.tHead.rows[0].cells], place = heads.findIndex(h => h.textContent === 'FPR');
      const read = () => [...table.tBodies[0].rows].map(r => JSON.parse(r.cells[place].querySelector('[data-value]').dataset.value));
      const click = () => heads[place].querySelector('button').click();
      click(); const up = read(), first = heads[place].ariaSort; click();
      return [up, read(), first, heads[place].ariaSort];
    })()"""
    rising, falling, first, second = window.evaluate(script)
    known = [value for value in rising if value is not None]
    assert known == sorted(known) and [v for v in falling if v is not None] == sorted(known, reverse=True)
    assert rising[len(known) :] == falling[len(known) :] == [None] * (len(rising) - len(known))
    assert (first, second) == ("ascending", "descending")


def test_hidden_texts_show_when_pressed_and_the_theme_can_be_chosen(run: Run, window: Browser) -> None:
    window.open(run.paths.report.html, 1280, "light")
    script = """(() => {
      const text = document.querySelector('.masked'), look = () => getComputedStyle(text).filter;
      const before = look(); text.click(); const shown = look();
      text.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}));
      document.getElementById('theme').click();
      return [before, shown, look(), document.documentElement.dataset.theme, text.textContent];
    })()"""
    assert window.evaluate(script) == ["blur(5px)", "none", "blur(5px)", "dark", "<script>alert(2)</script>"]
    window.evaluate("localStorage.clear()")


def test_every_picture_says_what_it_shows(run: Run, window: Browser) -> None:
    window.open(run.paths.report.html, 390, "dark")
    script = "[...document.querySelectorAll('svg')].map(s => [s.getAttribute('role'), (s.getAttribute('aria-label') || '').length])"
    pictures = window.evaluate(script)
    assert len(pictures) > 10 and all(role == "img" and length > 10 for role, length in pictures)
