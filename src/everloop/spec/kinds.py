"""Tables of kinds: a setting's word, and the place that is imported when it is first used."""

import importlib
from collections.abc import Mapping
from typing import Any

from everloop.spec.errors import MissingExtraError


def resolve(kinds: Mapping[str, str], kind: str, *, where: str, extra: str) -> Any:  # noqa: ANN401
    """Import what a kind stands for.

    Args:
        kinds: Kind to ``"package.module:name"``; a stage's table of kinds.
        kind: A key of the table. The project file was checked, so a wrong one is a bug.
        where: The setting that asks for it, for the message.
        extra: The extra of everloop that brings the packages the module needs.

    Raises:
        MissingExtraError: If a package that the module imports is not installed.
    """
    module_name, _, name = kinds[kind].partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "everloop":
            raise
        raise MissingExtraError(where, error.name, extra) from error
    return getattr(module, name)
