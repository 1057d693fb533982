"""What all tests share: programs of the operating system, which may be missing."""

import os
import shutil
from collections.abc import Callable

import pytest

Find = Callable[..., str]


@pytest.fixture(scope="session")
def program() -> Find:
    """Return the path of a program by one of its names, or skip the test where there is none.

    With ``EVERLOOP_REQUIRE_PROGRAMS=1``, as continuous integration sets it, a missing one fails.
    """

    def find(*names: str) -> str:
        for name in names:
            if (path := shutil.which(name)) is not None:
                return path
        if os.environ.get("EVERLOOP_REQUIRE_PROGRAMS") == "1":
            pytest.fail(f"{names[0]} is not installed, and EVERLOOP_REQUIRE_PROGRAMS asks for it")
        pytest.skip(f"{names[0]} is not installed")

    return find
