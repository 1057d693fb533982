# ruff: noqa: INP001 - a folder of pages is no package
"""Write the parts of the docs that follow from the code; a test holds them to it.

    python docs/generate.py

`project-file.md` is made whole, of the records in `everloop.spec.project`: what a key means is what
its record's docstring says. In `operations.md`, the tables between marks are made of the commands,
and of the server's settings and limits.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from everloop.cli.main import COMMANDS
from everloop.serve import ship, spool
from everloop.serve.http.limits import Limits
from everloop.serve.records import MAX_LABELS
from everloop.serve.v2 import MAX_ID
from everloop.spec.durations import format_duration
from everloop.spec.file import MAX_FILE_BYTES
from everloop.spec.project import Project, ServeSpec
from everloop.spec.record import Record
from everloop.spec.steps import StepSpec

DOCS = Path(__file__).parent

# What a record leaves to the name of its key, said in words.
MEANINGS = {
    "project.name": "Names the model: in the registry, in the store and in the server's paths.",
    "train.boosting.num_trees": "Trees to fit at most.",
    "train.boosting.learning_rate": "How much of each tree is taken.",
    "train.boosting.num_leaves": "Leaves of a tree at most.",
    "train.boosting.min_leaf_rows": "Rows in a leaf at least.",
    "train.boosting.column_ratio": "Share of the columns that each tree may use.",
    "train.boosting.l2": "Penalty on the size of the leaves' values.",
    "train.network.width": "Numbers in a hidden layer.",
    "train.network.num_blocks": "Residual blocks.",
    "train.network.dropout": "Share of a hidden layer that is left out at random while fitting.",
    "train.network.epochs": "Passes over the rows at most.",
    "train.network.batch_rows": "Rows of one step.",
    "train.network.learning_rate": "Size of a step.",
    "train.network.weight_decay": "Pull of the weights towards 0.",
    "console.host": "Address to bind; 127.0.0.1 is seen by this machine only.",
    "console.port": "0 takes a free one.",
    "train.split": "How the newest rows are set aside.",
    "train.boosting": "Of the family `boosting`.",
    "train.network": "Of the family `network`.",
}

# Keys that take a word in place of their table.
WORDS = {
    "sources.label": "expression or table",
    "columns.NAME.steps": "list of word or table",
}

HEAD = """# The project file

*Made by `python docs/generate.py` from the records in `src/everloop/spec/project.py`.*

One file, `everloop.toml`, says everything. A key that everloop does not know is an error, so a typo
is never passed over; `everloop check` reports every mistake at once, with its line and the nearest
valid word. `everloop schema` prints the same as JSON Schema, for editors that complete and check.

- A **length of time** is a number with a unit: `"90s"`, `"15m"`, `"1h"`, `"7d"`, `"2w"`, `"100ms"`.
- A **name** has lower-case letters, digits, `.`, `_` and `-`, 64 at most.
- An **expression** is SQL over the columns, such as `"arr_delay > 30"`, as Polars reads it.
- A **secret** stands as `"${NAME}"` (from the environment) or `"file:PATH"`, never as itself.
- Paths are relative to the project file's folder.

The smallest project:

```toml
[project]
name = "returns"

[[sources]]
path = "data/*.csv"
label = "returned"
```

"""


@dataclass(frozen=True)
class Section:
    """One table of the project file."""

    path: str
    heading: str
    record: type[Record]


def main() -> None:
    """Write the files."""
    (DOCS / "project-file.md").write_text(project_file(), encoding="utf-8")
    operations = DOCS / "operations.md"
    operations.write_text(with_tables(operations.read_text(encoding="utf-8")), encoding="utf-8")


def project_file() -> str:
    """Return the whole of `project-file.md`."""
    return HEAD + "\n".join(_section_text(section) for section in _sections(Project, ""))


def with_tables(page: str) -> str:
    """Return the page with fresh tables between the marks."""
    for name, lines in (("commands", _commands()), ("limits", _limits())):
        start, end = f"<!-- {name}: made by docs/generate.py -->", f"<!-- end of {name} -->"
        before, _, rest = page.partition(start)
        after = rest.partition(end)[2]
        page = "\n".join([f"{before}{start}", "", *lines, "", f"{end}{after}"])
    return page


def _sections(record: type[BaseModel], above: str) -> Iterator[Section]:
    for name, field in record.model_fields.items():
        inner = _record_in(field.annotation)
        if inner is None:
            continue
        path = f"{above}{field.alias or name}"
        yield Section(path, _heading(path, field, is_top=not above), inner)
        is_mapping = "dict[" in str(field.annotation)
        yield from _sections(inner, f"{path}.NAME." if is_mapping else f"{path}.")


def _heading(path: str, field: FieldInfo, *, is_top: bool) -> str:
    text = str(field.annotation)
    if text.startswith("dict["):
        return f"[{path}.NAME]"
    if is_top and text.startswith("tuple["):
        return f"[{path}]" if path == "join" else f"[[{path}]]"
    return f"[{path}]" if path.startswith(("train.", "join.")) or is_top else path


def _record_in(annotation: Any) -> type[Record] | None:  # noqa: ANN401 - any annotation
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return annotation
    found = (_record_in(part) for part in get_args(annotation))
    return next((record for record in found if record is not None), None)


def _section_text(section: Section) -> str:
    summary = inspect.getdoc(section.record).split("\n\nAttributes:")[0]  # type: ignore[union-attr]
    summary = " ".join(summary.split()).removeprefix(f"`{section.heading}`").lstrip(":. ")
    schema = section.record.model_json_schema()
    meanings = _meanings(section)
    lines = [f"## {section.heading}", ""]
    if summary:
        lines += [_plain(summary[0].upper() + summary[1:]), ""]
    lines += [*_notes(section), "| key | value | default | meaning |", "|---|---|---|---|"]
    for name, field in section.record.model_fields.items():
        value = WORDS.get(f"{section.path}.{name}") or _value(
            schema["properties"][name], schema.get("$defs", {})
        )
        lines.append(f"| `{name}` | {value} | {_default(field)} | {meanings[name]} |")
    return "\n".join(lines) + "\n"


def _notes(section: Section) -> list[str]:
    if section.path == "join":
        return ["Several joins are written `[[join]]`.", ""]
    if section.record is StepSpec:
        return ['A step is its kind, `"trim"`, or a table, `{ kind = "clip", low = 0 }`.', ""]
    if section.path == "sources.label":
        return ['A label is its expression, `"late"`, or a table.', ""]
    return []


def _meanings(section: Section) -> dict[str, str]:
    found = _attributes(section.record) | _attribute_docstrings(section.record)
    meanings = {}
    for name in section.record.model_fields:
        text = found.get(name) or MEANINGS.get(f"{section.path}.{name}")
        if text is None:
            raise SystemExit(
                f"{section.path}.{name}: no meaning; add it to the docstring of "
                f"{section.record.__name__}"
            )
        meanings[name] = _plain(text).replace("|", "\\|")
    return meanings


def _attributes(record: type[Record]) -> dict[str, str]:
    """Read the Attributes section of a docstring."""
    found: dict[str, str] = {}
    name = ""
    for line in (inspect.getdoc(record) or "").partition("Attributes:")[2].splitlines():
        body = line.strip()
        if line.startswith("    ") and not line.startswith("     ") and ":" in body:
            name, _, body = body.partition(":")
        if name:
            found[name] = f"{found.get(name, '')} {body}".strip()
    return found


def _attribute_docstrings(record: type[Record]) -> dict[str, str]:
    """Read the texts that stand under a record's keys."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(record))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for key, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(key, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(key.target, ast.Name)
            assert isinstance(text.value, ast.Constant)
            found[key.target.id] = str(text.value.value)
    return found


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")


def _value(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return "table"
    if "anyOf" in schema:
        parts = [_value(s, defs) for s in schema["anyOf"] if s.get("type") != "null"]
        return " or ".join(dict.fromkeys(parts))
    if "allOf" in schema:
        return _value(schema["allOf"][0], defs)
    if words := schema.get("enum") or ([schema["const"]] if "const" in schema else None):
        return ", ".join(f"`{json.dumps(word)}`" for word in words)
    return _KINDS[schema["type"]](schema, defs)


def _text(schema: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    examples = schema.get("examples", [])
    if "7d" in examples:
        return "length of time"
    if "${API_KEY}" in examples:
        return "secret"
    if schema.get("pattern"):
        return "name"
    return "expression" if schema.get("maxLength") == 10_000 else "text"  # noqa: PLR2004


def _list(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    return f"list of {_value(schema['items'], defs)}"


def _table(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    return f"table of name to {_value(schema['additionalProperties'], defs)}"


def _number(schema: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    word = "whole number" if schema["type"] == "integer" else "number"
    low, over = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, under = schema.get("maximum"), schema.get("exclusiveMaximum")
    bounds = [
        *([f"at least {low:,}"] if low is not None else []),
        *([f"over {over:,}"] if over is not None else []),
        *([f"at most {high:,}"] if high is not None else []),
        *([f"under {under:,}"] if under is not None else []),
    ]
    return ", ".join([word, *bounds])


_KINDS = {
    "string": _text,
    "integer": _number,
    "number": _number,
    "boolean": lambda _schema, _defs: "true or false",
    "array": _list,
    "object": _table,
}


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if isinstance(value, Record):
        return "see below"
    if isinstance(value, timedelta):
        value = format_duration(value) if value else "0s"
    return f"`{json.dumps(value)}`"


def _commands() -> list[str]:
    lines = [f"| `everloop {name}` | {line} |" for name, (_, line) in COMMANDS.items()]
    return ["| command | |", "|---|---|", *lines]


# What a person may want to know of [serve] beside the HTTP layer's own bounds.
_SERVE_KEYS = (
    "max_batch_rows", "max_wait_ms", "max_queue_rows", "max_body_mb", "request_timeout",
    "drain_timeout", "spool_mb",
)  # fmt: skip


def _limits() -> list[str]:
    lines = ["| limit | default | meaning |", "|---|---|---|"]
    meanings = _attributes(ServeSpec)
    for name in _SERVE_KEYS:
        default = _default(ServeSpec.model_fields[name])
        lines.append(f"| `serve.{name}` | {default} | {_plain(meanings[name])} |")
    found = _attributes(Limits)  # type: ignore[arg-type]
    lines += [
        f"| {field.name} | {field.default:,} | {_plain(found[field.name])} |"
        for field in fields(Limits)
        if field.name != "max_body_bytes"  # it is serve.max_body_mb
    ]
    piece = f"{ship.PIECE_ROWS:,} rows, {ship.PIECE_BYTES >> 20} MiB"
    lines += [
        f"| labels of a request | {MAX_LABELS:,} | More are answered 413. |",
        f"| an id | {MAX_ID:,} | Printable characters at most. |",
        f"| a spool's segment | {spool.SEGMENT_BYTES >> 20} MiB | Then the next file begins. |",
        f"| a shipped piece | {piece} | Of one commit. |",
        f"| the project file | {MAX_FILE_BYTES:,} bytes | A larger one is refused. |",
    ]
    return lines


if __name__ == "__main__":
    main()
