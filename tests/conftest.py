"""What every test stands on: eight fake devices, no silent broadcasting, a cache of its own."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from physjax import runtime

# Before JAX is first used: pmap needs several devices, and a CPU shows one. The other flags are
# those of the commands, which round differently where vectors are wider: a run in this process and
# one that a test starts are compared bit for bit.
os.environ["XLA_FLAGS"] = (
    runtime.environment()["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"
).strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
# The linear algebra of SciPy, which JAX calls too. Where other processes hold the cores, its
# threads wait for each other far longer than they work on matrices as small as those here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# What one test has compiled, the others, and the processes that they start, need not compile again.
# JAX locks its cache where that has a limit, so that nobody reads what another one half wrote.
_COMPILED = Path(__file__).resolve().parents[1] / ".pytest_cache" / "compiled"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_COMPILED))
os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(4 * 2**30))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

import jax
import pytest
from jax._src import compiler

from helpers.compiling import QUICK

jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--exhaustive", action="store_true", help="all cases of those that are alike, as CI does"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker is left with a long one at the end."""
    if not config.getoption("exhaustive"):
        left = [item for item in items if item.get_closest_marker("exhaustive")]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]
    slow = Counter(
        item.path
        for item in items
        if item.get_closest_marker("slow") or item.get_closest_marker("exhaustive")
    )
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True, scope="module")
def _compiler(request: pytest.FixtureRequest) -> Iterator[None]:
    """In a module with the mark `quick_compile` XLA optimises next to nothing.

    Neither in this process nor in those that it starts, so that what both compute is the same bit
    for bit. Without what was compiled before, and after, in the other way.
    """
    if request.node.get_closest_marker("quick_compile") is None:
        yield
        return
    options = compiler.get_compile_options

    def quick(*given: Any, env_options_overrides: Any = None, **named: Any) -> Any:
        overrides = {**QUICK, **(env_options_overrides or {})}
        return options(*given, env_options_overrides=overrides, **named)

    flags = [f"--{name}={str(value).lower()}" for name, value in QUICK.items()]
    jax.clear_caches()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "get_compile_options", quick)
        patch.setenv("XLA_FLAGS", " ".join([os.environ["XLA_FLAGS"], *flags]))
        yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own data, caches and settings neither help nor hurt a test."""
    base = tmp_path_factory.getbasetemp()
    monkeypatch.setenv("PHYSJAX_CACHE", str(base / "physjax-cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(base / "no-tfds"))


@pytest.fixture(autouse=True, scope="session")
def _signals_as_in_a_terminal() -> None:
    """What a job in the background or under nohup ignores, the processes of a test do not."""
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_cifar10() -> Path:
    """A TFDS folder that holds CIFAR-10, or a skip with the reason."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "tensorflow_datasets"
    folder = Path(os.environ.get("PHYSJAX_TEST_DATA", beside))
    if not (folder / "cifar10").is_dir():
        pytest.skip(f"no CIFAR-10 in {folder}; set PHYSJAX_TEST_DATA to a TFDS folder with it")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window, or a skip with the reason."""
    chromium, driver_file = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver_file is None:
        pytest.skip("no chromium: apt-get install chromium chromium-driver brings it")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_file))
    driver.set_script_timeout(300)
    yield driver
    driver.quit()
