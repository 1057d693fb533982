"""Where in a TOML text each key stands, so that a mistake can be reported with its line.

The standard library's parser gives values without places. This scan runs only on text that the
parser has accepted, so it may trust the syntax and look at line starts alone.
"""

import re
import tomllib

Path = tuple[str | int, ...]

_HEADER = re.compile(r"\s*(\[\[?)(.+?)\]\]?\s*(?:#.*)?$")
_KEY = re.compile(
    r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_WORD = re.compile(r"""[A-Za-z0-9_-]+|"([^"]*)"|'([^']*)'""")
_STRINGS = re.compile(r'"""|\'\'\'')


def locate(text: str) -> dict[Path, int]:
    r"""Map each table header and key of a valid TOML text to its line, counted from 1.

    >>> locate("a = 1\n[[b]]\nc.d = 2")[("b", 0, "c", "d")]
    3
    """
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    open_until = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if number <= open_until:
            continue
        if header := _HEADER.match(line):
            table = _enter(_words(header[2]), counts, is_array=header[1] == "[[")
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            path = table + _words(key[1])
            for length in range(len(table) + 1, len(path) + 1):
                lines.setdefault(path[:length], number)
            open_until = _last_line(text, number)
    return lines


def nearest_line(lines: dict[Path, int], path: Path) -> int:
    """Return the line of the longest part of the path that has one; 0 if none has."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return 0


def _words(dotted: str) -> Path:
    return tuple(
        next((group for group in match.groups() if group is not None), match[0])
        for match in _WORD.finditer(dotted)
    )


def _enter(words: Path, counts: dict[Path, int], *, is_array: bool) -> Path:
    """Add to each array of tables on the way the number of its current element."""
    path: Path = ()
    for position, word in enumerate(words):
        path += (word,)
        if is_array and position == len(words) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path += (counts[path],)
    return path


def _last_line(text: str, first: int) -> int:
    """Return the line on which the value that begins on line ``first`` ends.

    A value over several lines is an open bracket or an open string; the shortest run of lines that
    parses by itself is the whole of it.
    """
    lines = text.splitlines()
    value = lines[first - 1]
    if not any(mark in value for mark in ("[", "{")) and not _STRINGS.search(value):
        return first
    for last in range(first, min(len(lines), first + 10_000)):
        try:
            tomllib.loads("\n".join(lines[first - 1 : last]))
        except tomllib.TOMLDecodeError:
            continue
        return last
    return first
