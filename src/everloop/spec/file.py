"""Read a project file; report every mistake at once, with its line and the nearest valid word."""

import difflib
import json
import re
import tomllib
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from everloop.spec.errors import Problem, ProjectError
from everloop.spec.lines import locate, nearest_line
from everloop.spec.project import Project

MAX_FILE_BYTES = 1_000_000
DEFAULT_FILE = "everloop.toml"


def load_project(path: Path) -> Project:
    """Read and check a project file.

    Args:
        path: The file, or a directory that holds an ``everloop.toml``.

    Raises:
        ProjectError: With every mistake in the file.
    """
    path = path / DEFAULT_FILE if path.is_dir() else path
    return parse_project(_read(path), name=str(path))


def parse_project(text: str, *, name: str = DEFAULT_FILE) -> Project:
    """Check the text of a project file; as `load_project`.

    Raises:
        ProjectError: With every mistake in the text.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProjectError(name, [_syntax_problem(text, error)]) from None
    except RecursionError:
        problem = Problem(where="file", line=0, text="nested too deeply; a project file is flat")
        raise ProjectError(name, [problem]) from None
    try:
        # As JSON, because only there does the strict check still take a list for a tuple.
        return Project.model_validate_json(json.dumps(data, default=str), strict=True)
    except ValidationError as error:
        lines = locate(text)
        errors = _without_echoes(error.errors())
        problems = [p for details in errors for p in _problems(details, data, lines)]
        unique = {(p.line, p.where, p.text): p for p in problems}
        raise ProjectError(name, [unique[key] for key in sorted(unique)]) from None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        text = "no such file; run `everloop init` to make one, or name it with --project"
        raise ProjectError(str(path), [Problem(where="file", line=0, text=text)]) from None
    except OSError as error:
        problem = Problem(where="file", line=0, text=f"cannot be read: {error.strerror}")
        raise ProjectError(str(path), [problem]) from None
    if len(data) > MAX_FILE_BYTES:
        text = f"larger than {MAX_FILE_BYTES} bytes; is this a project file?"
        raise ProjectError(str(path), [Problem(where="file", line=0, text=text)])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        text = f"byte {error.start} is not UTF-8; save the file as UTF-8"
        raise ProjectError(str(path), [Problem(where="file", line=line, text=text)]) from None


def _syntax_problem(text: str, error: tomllib.TOMLDecodeError) -> Problem:
    match = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
    line = int(match[1]) if match else text.count("\n") + 1
    reason = re.sub(r"\s*\(at .*\)$", "", str(error))
    return Problem(where="file", line=line, text=f"not valid TOML: {reason}")


def _without_echoes(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """Drop "too short" where the list is short only because its elements were refused."""
    places = [e["loc"] for e in errors]
    return [
        e
        for e in errors
        if e["type"] != "too_short"
        or not any(p[: len(e["loc"])] == e["loc"] and p != e["loc"] for p in places)
    ]


def _problems(details: ErrorDetails, data: dict[str, Any], lines: dict[Any, int]) -> list[Problem]:
    path = tuple(_real_path(details["loc"], data))
    if not path and details["type"] == "value_error":
        return [_cross_problem(text, lines) for text in str(details["ctx"]["error"]).splitlines()]
    place = path[:-1] if details["type"] == "missing" else path
    return [
        Problem(
            where=dotted(path) or "file", line=nearest_line(lines, place), text=_text(details, path)
        )
    ]


def _cross_problem(text: str, lines: dict[Any, int]) -> Problem:
    where, _, rest = text.partition(": ")
    path = tuple(int(w) if w.isdigit() else w for w in re.findall(r"[^.\[\]]+", where))
    return Problem(where=where, line=nearest_line(lines, path), text=rest)


def _real_path(loc: tuple[str | int, ...], data: Any) -> list[str | int]:  # noqa: ANN401
    """Drop what the checker adds to a place, such as the branch of a union it tried."""
    path: list[str | int] = []
    here = data
    for i, word in enumerate(loc):
        is_last = i == len(loc) - 1
        if isinstance(here, dict) and (word in here or (is_last and isinstance(word, str))):
            path.append(word)
            here = here.get(word)
        elif isinstance(here, list) and isinstance(word, int):
            path.append(word)
            here = here[word] if word < len(here) else None
        elif isinstance(word, int) and word == 0 and isinstance(here, dict):
            continue
    return path


def dotted(path: tuple[str | int, ...]) -> str:
    """Write a place as people do.

    >>> dotted(("sources", 0, "kind"))
    'sources[0].kind'
    """
    text = ""
    for word in path:
        text += f"[{word}]" if isinstance(word, int) else f".{word}" if text else word
    return text


def _text(details: ErrorDetails, path: tuple[str | int, ...]) -> str:
    kind, found, context = details["type"], details.get("input"), details.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "missing":
        return "missing; this key is needed"
    if kind == "literal_error":
        words = re.findall(r"'([^']*)'", str(context["expected"]))
        return f"found {_show(found)}, expected one of {', '.join(words)}.{_hint(found, words)}"
    if kind == "value_error":
        return f"{_shown_part(found, str(context['error']))}{context['error']}"
    return f"found {_show(found)}, {_plain(details['msg'])}"


def _plain(message: str) -> str:
    """Put the checker's words in a TOML writer's: a list, not a tuple; no talk of validation."""
    message = message.replace("Input should be ", "expected ")
    message = re.sub(r"^Tuple should have", "expected a list with", message)
    message = re.sub(r" after validation, not \d+$", "", message)
    message = message.replace("a valid array", "a list").replace("a valid integer", "an integer")
    message = message.replace(" valid ", " ")
    return message[0].lower() + message[1:]


def _shown_part(found: object, message: str) -> str:
    # A message about a secret must not repeat what was found: it may be the secret.
    return "" if "secret" in message else f"found {_show(found)}, "


def _show(found: object) -> str:
    text = repr(found) if not isinstance(found, bool) else str(found).lower()
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004 - a line of a terminal


def _unknown_key(path: tuple[str | int, ...]) -> str:
    known = _known_keys(path[:-1])
    word = str(path[-1])
    if not known:
        return "unknown key; remove it"
    return f"unknown key, expected one of {', '.join(sorted(known))}.{_hint(word, known)}"


def _hint(found: object, words: list[str]) -> str:
    near = difflib.get_close_matches(str(found), words, n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def _known_keys(path: tuple[str | int, ...]) -> list[str]:
    """Return the keys that the record at this place has."""
    annotation: Any = Project
    for word in path:
        record = _record_in(annotation)
        if isinstance(word, int):
            continue
        if record is None:
            return []
        fields = {field.alias or name: field for name, field in record.model_fields.items()}
        # A table keyed by the user's own names, such as [columns.NAME], holds its record as value.
        annotation = fields[word].annotation if word in fields else annotation
    record = _record_in(annotation)
    return [f.alias or name for name, f in record.model_fields.items()] if record else []


def _record_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        if (record := _record_in(part)) is not None:
            return record
    return None
