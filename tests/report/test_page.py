"""The HTML page: that it needs nothing outside itself, and what a real browser makes of it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.runs import configure
from physjax.errors import UserError
from physjax.evaluate.inspection import inspect
from physjax.records import RecordError, RunFolder
from physjax.records.inspection import FILE, read_inspection
from physjax.report.html import write_page
from physjax.train.loop import fit

pytestmark = pytest.mark.quick_compile

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "results" / "studies" / "alexnet_cifar10"
RUN_TABS = ["Overview", "Curves", "Classes", "Mistakes", "Forces", "Filters", "Config"]
STUDY_TABS = ["Overview", "Tables", "Differences", "Curves", "Forces"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose name is markup, looked into."""
    folder = tmp_path_factory.mktemp("runs")
    fit(configure(folder, run={"name": "a&b"}, optim={"epochs": 3}))
    inspect(folder / "a&b")
    return folder / "a&b"


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("linear")
    fit(configure(folder, model={"law": "spring"}))
    return folder / "run"


@pytest.fixture(scope="module")
def page(run: Path, linear: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page([run, linear, STUDY], path, {linear: "the checkpoint is gone"})
    return path


def test_a_look_into_a_network(run: Path, linear: Path) -> None:
    """The surest mistakes, in order; filters and offsets as they were trained and fold."""
    found = read_inspection(run)
    assert found is not None
    assert found.law == "constant"
    assert len(found.mistakes) == 24
    assert (found.label != found.predicted).all()
    assert (np.diff(found.probability) <= 0).all()
    assert (found.probability > 0.1).all()
    result = RunFolder(run).read_result()
    assert result is not None
    confused = np.asarray(result.confusion)
    assert all(confused[i, j] for i, j in zip(found.label, found.predicted, strict=True))
    np.testing.assert_array_equal(found.filters, found.folded_filters)
    # The record rounds.
    f = result.law_parameters["conv1"]["neighbor_forces"]
    last = RunFolder(run).read_epochs()[-1].physics["conv1"]["strength"]
    np.testing.assert_allclose(
        found.offsets["conv1"], last * (np.roll(f, 1) + np.roll(f, -1)), rtol=1e-3
    )
    folded = inspect(linear)
    assert folded.law == "linear"
    assert not folded.offsets
    assert not np.array_equal(folded.filters, folded.folded_filters)
    (linear / FILE).unlink()


@pytest.mark.parametrize("damage", ["cut", "zeros", "other"])
def test_a_damaged_look_is_named(run: Path, tmp_path: Path, damage: str) -> None:
    whole = (run / FILE).read_bytes()
    copy = tmp_path / FILE
    if damage == "other":
        np.savez(copy, step=1)
        copy = copy.with_suffix(".npz")
    else:
        copy.write_bytes(whole[: len(whole) // 2] if damage == "cut" else bytes(len(whole)))
    with pytest.raises(RecordError, match=r"inspection\.npz is damaged .*; remove it"):
        read_inspection(tmp_path)


def test_what_cannot_be_on_a_page_is_refused(tmp_path: Path, run: Path) -> None:
    with pytest.raises(RecordError, match="holds no run"):
        write_page([tmp_path], tmp_path / "x.html")
    with pytest.raises(UserError, match="named twice"):
        write_page([run, run / "."], tmp_path / "x.html")
    with pytest.raises(UserError, match="at least one"):
        write_page([], tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


class Outside(HTMLParser):
    """Collects what a page would load, and the text outside of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.text = ""
        self._skipped = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._skipped = tag in ("script", "style")
        self.loaded += [str(v) for k, v in attrs if k in ("src", "href") and str(v)[:5] != "data:"]

    def handle_endtag(self, tag: str) -> None:
        self._skipped = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._skipped else data


def test_the_page_needs_nothing_outside_itself(page: Path, run: Path) -> None:
    text = page.read_text(encoding="utf-8")
    parser = Outside()
    parser.feed(text)
    assert parser.loaded == []
    assert "a&b" in parser.text
    result = RunFolder(run).read_result()
    assert result is not None
    assert f"{result.test_accuracy:.2%}" in parser.text
    assert "not shown: the checkpoint is gone" in parser.text
    # Every chart is whole, also in front of a name with markup.
    charts = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    assert len(charts) > 15
    for chart in charts:
        assert json.loads(chart)["data"]


def shown(browser: Any, selector: str) -> list[Any]:
    """The elements of that selector which one can see."""
    from selenium.webdriver.common.by import By

    return [e for e in browser.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed()]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_every_tab_without_an_error(browser: Any, page: Path, width: int) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600},
    )
    browser.get(page.as_uri())
    subjects = [b.text for b in shown(browser, "nav.subjects button")]
    assert subjects == ["Comparison", "a&b", "run", STUDY.name]
    tabs = []
    for subject in shown(browser, "nav.subjects button"):
        browser.execute_script("arguments[0].click()", subject)
        tabs.append([b.text for b in shown(browser, "nav.panels button")])
        for button in shown(browser, "nav.panels button"):
            browser.execute_script("arguments[0].click()", button)
            (panel,) = shown(browser, ".panel")
            assert panel.get_attribute("id") == button.get_attribute("aria-controls")
            # What is seen is drawn, and nothing reaches over the window's edge.
            drawn = browser.execute_script(
                "return [...arguments[0].querySelectorAll('.chart')].map("
                "c => c.querySelectorAll('svg.main-svg').length > 0)",
                panel,
            )
            assert all(drawn)
            sizes = "return [document.documentElement.scrollWidth, window.innerWidth]"
            used, there = browser.execute_script(sizes)
            assert used <= there
    assert tabs == [
        ["Table", "Curves"],
        RUN_TABS,
        [tab for tab in RUN_TABS if tab not in ("Mistakes", "Filters")],
        STUDY_TABS,
    ]
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.slow
def test_values_are_under_the_pointer(browser: Any, page: Path) -> None:
    from selenium.webdriver import ActionChains

    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.set_window_size(1280, 900)
    browser.get(page.as_uri())
    browser.execute_script("document.querySelectorAll('nav.panels button')[1].click()")
    chart = shown(browser, ".chart")[0]
    ActionChains(browser).move_to_element(chart).perform()
    found = browser.execute_async_script(
        """
        const [chart, done] = arguments;
        const look = () => {
          const text = [...chart.querySelectorAll('.hoverlayer text')].map(t => t.textContent);
          if (text.length) done(text.join(' ')); else setTimeout(look, 50);
        };
        look();
        """,
        chart,
    )
    assert re.search(r"\d+\.\d\d%", found)
