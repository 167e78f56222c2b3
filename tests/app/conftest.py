"""A small published company, an empty folder, and pages run by AppTest against them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import small_company
import streamlit as st
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from app import data, i18n

MAIN = Path(data.__file__).parent / "main.py"


@pytest.fixture(scope="session", autouse=True)
def _no_components() -> Iterator[None]:
    """Each AppTest looks for Streamlit components in every installed package, which takes longer than most pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", list)
        yield


@pytest.fixture(autouse=True)
def on_the_morning_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Five hours after the data were read, in Russian, with empty caches."""
    monkeypatch.setattr(data, "now", lambda: small_company.AS_OF + small_company.timedelta(hours=5))
    i18n.use("ru")
    yield
    st.cache_resource.clear()


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder nothing was published in yet; the app looks there."""
    monkeypatch.setenv("VORONKA_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("VORONKA_CONFIG", str(tmp_path / "config.yaml"))
    return tmp_path


@pytest.fixture(scope="session")
def _made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    small_company.publish(folder)
    return folder


@pytest.fixture
def published(data_dir: Path, _made_once: Path) -> Path:
    """The data folder with the small company published in it."""
    shutil.copytree(_made_once, data_dir, dirs_exist_ok=True)
    return data_dir


Open = Callable[..., AppTest]


@pytest.fixture
def open_page(data_dir: Path) -> Open:
    """`open_page("calls", lang="en")`: the page as a viewer who follows that link gets it."""

    def opened(url: str, *, user: dict[str, str] | None = None, **params: str) -> AppTest:
        page = AppTest.from_file(str(MAIN), default_timeout=30)
        page._page_hash = calc_hash(url)  # the public switch_page knows files only, our pages are functions
        page.user = user or {}
        for name, value in params.items():
            page.query_params[name] = value
        return page.run()

    return opened
