"""A project that was turned once, made once and copied for each test."""

import shutil
from pathlib import Path

import pytest

from tests.cli.projects import everloop, make_project


@pytest.fixture(scope="session")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_project(tmp_path_factory.mktemp("turned") / "shop")
    done = everloop("run", cwd=folder)
    assert done.code == 0, done.text
    return folder


@pytest.fixture
def shop(turned: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(turned, tmp_path / "shop"))


@pytest.fixture
def new_shop(tmp_path: Path) -> Path:
    return make_project(tmp_path / "shop")
