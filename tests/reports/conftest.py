"""Finished runs, and a browser for the pages of reports and leaderboards."""

import shutil

import pytest
from mltbench.benchmark.executors.run_plan import run_plan
from mltbench.benchmark.experiments.plan import build_plan
from mltbench.benchmark.tracking.store import open_store
from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
QUICK = ("recipe.plain.epochs=1", "recipe.resampled.epochs=1", "recipe.batch_size=8")


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory):
    return tmp_path_factory.mktemp("trained") / "results"


@pytest.fixture
def trained(dataset, out, settings, trained_once):
    """A store with one finished run of two methods each on the tiny dataset, trained once and copied."""
    if not trained_once.exists():
        plan = build_plan(dataset, ["erm", "rs"], seeds=[0], overrides=QUICK, recipe="digits")
        assert not run_plan(plan, open_store(out), settings).failed
        shutil.copytree(out, trained_once)
        return open_store(out)
    shutil.copytree(trained_once, out, dirs_exist_ok=True)
    return open_store(out)


@pytest.fixture(scope="module")
def browser():
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no chromium here; Debian's package `chromium` has one")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def open_page(browser):
    """Opens pages; no script may fail, and nothing but files may be asked for."""
    opened, troubles = [], []

    def opening(address, *, width=1280, scheme="light", **settings):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, **settings)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: request.url.startswith("file:") or troubles.append(request.url))
        page.goto(address)
        opened.append(page)
        return page

    yield opening
    for page in opened:
        page.close()
    assert troubles == []
