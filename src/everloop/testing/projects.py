"""Small projects with generated rows: enough for a whole turn of the loop in a second or two."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

Target = Literal["binary", "text", "multiclass", "regression"]

START = datetime(2024, 1, 1, tzinfo=UTC)
FEATURES = ("size", "weight", "colour")
_COLOURS = ("red", "green", "blue")
_STEP = timedelta(minutes=10)

_SETTINGS: dict[str, Any] = {
    "sources": [{"name": "main", "path": "rows/*.csv", "key": ["id"], "label": "label"}],
    "train": {"features": list(FEATURES), "boosting": {"num_trees": 20, "min_leaf_rows": 20}},
    "gate": {"min_rows": 50},
    "serve": {"port": 0, "poll_interval": "20ms", "ship_interval": "50ms"},
    "console": {"port": 0},
    "monitor": {"min_rows": 50},
    "retrain": {"poll_interval": "50ms"},
}


def make_rows(
    num_rows: int, *, seed: int = 0, first: int = 0, target: Target = "binary", sign: float = 1.0
) -> pl.DataFrame:
    """Make rows whose label follows from their columns, with some noise.

    Args:
        num_rows: How many.
        seed: Of everything random.
        first: Number of the first row, ten minutes after which comes the next; rows of the same
            numbers have the same ids and times.
        target: What the label is: ``True`` and ``False``, ``yes`` and ``no``, ``0`` to ``2``, or a
            number.
        sign: -1 turns the world around: what spoke for a label then speaks against it.

    Returns:
        Columns ``id``, ``at``, ``size``, ``weight``, ``colour``, ``label``.
    """
    chance = np.random.default_rng([seed, first])
    size, weight = chance.normal(size=num_rows), chance.uniform(0, 10, size=num_rows)
    code = chance.integers(0, len(_COLOURS), size=num_rows)
    raw = sign * (1.5 * size + 0.4 * (weight - 5) + (code - 1.0))
    raw += chance.normal(scale=0.7, size=num_rows)
    numbers = range(first, first + num_rows)
    return pl.DataFrame(
        {
            "id": [f"r{n}" for n in numbers],
            "at": [START + n * _STEP for n in numbers],
            "size": size.round(4),
            "weight": weight.round(4),
            "colour": [_COLOURS[c] for c in code],
            "label": _labels(raw, target),
        }
    )


def make_project(
    folder: Path,
    *,
    num_rows: int = 2000,
    seed: int = 0,
    target: Target = "binary",
    time: str | None = "at",
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Make a project's folder: ``everloop.toml``, and rows in ``rows/000000.csv``.

    Args:
        folder: Made if need be.
        num_rows: Of `make_rows`.
        seed: Of everything random.
        target: As in `make_rows`.
        time: The time column; None for a project without one.
        settings: Merged into the project file, section by section.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    add_rows(folder, make_rows(num_rows, seed=seed, target=target))
    main = _SETTINGS["sources"][0] | ({} if time is None else {"time": time})
    wanted = {"project": {"name": "small"}, **_SETTINGS, "sources": [main]}
    write_settings(folder, _merge(wanted, settings or {}))
    return folder


def add_rows(folder: Path, rows: pl.DataFrame) -> Path:
    """Put one more file of rows into a project's folder; returns its path."""
    place = folder / "rows"
    place.mkdir(exist_ok=True)
    path = place / f"{len(list(place.glob('*.csv'))):06}.csv"
    rows.write_csv(part := path.with_suffix(".part"))
    return part.rename(path)


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write ``everloop.toml`` from its sections."""
    lines = []
    for section, values in settings.items():
        if isinstance(values, list):
            tables = [f"[[{section}]]\n{_lines(value)}" for value in values]
            lines.append("\n".join(tables))
        else:
            lines.append(f"[{section}]\n{_lines(values)}")
    (folder / "everloop.toml").write_text("\n".join(lines))


def _lines(values: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {_value(value)}\n" for key, value in values.items())


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(v)}" for key, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    return json.dumps(value)


def _merge(settings: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(settings)
    for key, value in more.items():
        old = merged.get(key)
        is_section = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(old or {}, value) if is_section else value
    return merged


def _labels(raw: np.ndarray[Any, np.dtype[np.float64]], target: Target) -> list[Any]:
    if target == "regression":
        return [round(float(value), 4) for value in raw]
    if target == "multiclass":
        return [int(value) for value in np.digitize(raw, [-1.0, 1.0])]
    names = ("no", "yes") if target == "text" else (False, True)
    return [names[int(value)] for value in raw > 0]
