"""Row steps fitted to rows: from what a project file asks for to numbers in a manifest."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from everloop.rows.arithmetic import apply_step, calendar
from everloop.rows.columns import TEXT_STEPS, check_names
from everloop.rows.vectorised import input_values
from everloop.spec.errors import DataError
from everloop.spec.project import ColumnSpec
from everloop.spec.steps import ColumnSteps, FittedStep, StepSpec

Kind = Any  # the literal of ColumnSteps.kind
Numbers = npt.NDArray[np.float32]

_NUMBER_STEPS: Final = frozenset({"impute", "clip", "scale", "log", "clock"})
_ALLOWED: Final[Mapping[str, frozenset[str]]] = {
    "number": _NUMBER_STEPS | TEXT_STEPS,
    "category": frozenset({"trim", "lower", "lookup"}),
    "time": _NUMBER_STEPS | {"calendar", "parse", "trim"},
}
_DEFAULTS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    # Trees split on order alone and send NaN down a branch of its own: numbers stay as they are.
    ("boosting", "number"): (),
    ("boosting", "category"): ("lookup",),
    ("boosting", "time"): ("calendar",),
    ("network", "number"): ("clip", "impute", "scale"),
    ("network", "category"): ("lookup",),
    ("network", "time"): ("calendar", "impute", "scale"),
}
_NETWORK_NEEDS: Final[tuple[Literal["impute", "scale"], ...]] = ("impute", "scale")
_LOW, _HIGH = 0.001, 0.999


def fit_columns(
    frame: pl.DataFrame,
    features: Sequence[str],
    columns: Mapping[str, ColumnSpec],
    family: str,
) -> tuple[ColumnSteps, ...]:
    """Fit each feature's row steps to rows.

    A category always ends in ``lookup`` and a time starts with ``calendar``; a network's numbers
    are imputed and scaled where the project file asks for steps without it, since a network knows
    no null and learns nothing from numbers of very different size.

    Args:
        frame: The rows to fit on.
        features: Columns of the frame, in the order of the model's inputs.
        columns: The project file's `[columns]`; features it does not name go by their data.
        family: ``boosting`` or ``network``.

    Raises:
        DataError: If a feature is missing, cannot be read as its kind, or its steps do not suit it.
    """
    fitted = []
    for name in features:
        spec = columns.get(name, ColumnSpec())
        if name not in frame.columns:
            raise DataError(
                f"train.features: column {name!r} is not in the rows, which have "
                f"{', '.join(frame.columns[:20])}; correct the name or take it out"
            )
        kind = column_kind(frame.schema[name], spec)
        fitted.append(_fit_column(frame, name, kind, _steps(name, kind, spec, family)))
    check_names(fitted)
    return tuple(fitted)


def column_kind(dtype: pl.DataType, spec: ColumnSpec) -> Kind:
    """Say what kind a column is: what the project file says, else its steps, else its data."""
    if spec.kind != "auto":
        return spec.kind
    kinds = {step.kind for step in spec.steps or ()}
    if "lookup" in kinds:
        return "category"
    if "calendar" in kinds:
        return "time"
    if kinds & _NUMBER_STEPS or "parse" in kinds:
        return "number"
    if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean):
        return "category"
    return "time" if dtype in (pl.Date, pl.Datetime) else "number"


def _steps(name: str, kind: Kind, spec: ColumnSpec, family: str) -> list[StepSpec]:
    if spec.steps is None:
        return [StepSpec(kind=word) for word in _DEFAULTS[family, kind]]
    steps = list(spec.steps)
    for i, step in enumerate(steps):
        if step.kind not in _ALLOWED[kind]:
            raise DataError(
                f"columns.{name}.steps[{i}]: found {step.kind!r}, expected one of "
                f"{', '.join(sorted(_ALLOWED[kind]))} for a {kind} column; "
                f"take it out or set columns.{name}.kind"
            )
    text = [step for step in steps if step.kind in TEXT_STEPS]
    rest = [step for step in steps if step.kind not in TEXT_STEPS]
    first, last = _place(kind, rest, family)
    if steps != text + rest or len({s.kind for s in first + last + rest}) < len(
        first + last + rest
    ):
        raise DataError(
            f"columns.{name}.steps: found {', '.join(s.kind for s in steps)}; expected trim, lower "
            "and parse first, calendar before other steps, and none of them twice"
        )
    return text + first + rest + last


def _place(kind: Kind, rest: list[StepSpec], family: str) -> tuple[list[StepSpec], list[StepSpec]]:
    kinds = [step.kind for step in rest]
    first, last = [], []
    if kind == "category" and "lookup" not in kinds:
        last = [StepSpec(kind="lookup")]
    if kind == "time" and kinds[:1] != ["calendar"]:
        first = [StepSpec(kind="calendar")]
    if kind != "category" and family == "network":
        last = [StepSpec(kind=word) for word in _NETWORK_NEEDS if word not in kinds]
    return first, last


def _fit_column(
    frame: pl.DataFrame, name: str, kind: Kind, steps: Sequence[StepSpec]
) -> ColumnSteps:
    text = tuple(FittedStep(kind=step.kind) for step in steps if step.kind in TEXT_STEPS)
    rest = [step for step in steps if step.kind not in TEXT_STEPS]
    values = input_values(frame, ColumnSteps(name=name, kind=kind, steps=text))
    if kind == "category":
        return ColumnSteps(name=name, kind=kind, steps=(*text, _lookup(values, rest[0])))
    return ColumnSteps(name=name, kind=kind, steps=(*text, *_fit_numbers(values, rest)))


def _fit_numbers(values: pl.Series, steps: Sequence[StepSpec]) -> list[FittedStep]:
    fitted: list[FittedStep] = []
    x = values.to_numpy()
    for step in steps:
        if step.kind == "calendar":
            fitted.append(FittedStep(kind="calendar", parts=step.parts))
            x = calendar(x, step.parts)
            continue
        x = x.reshape(len(x), -1)
        fitted.append(_FIT[step.kind](step, x))
        x = apply_step(fitted[-1], x)
    return fitted


def _lookup(values: pl.Series, step: StepSpec) -> FittedStep:
    counts = (
        values.filter(values != "")
        .alias("value")
        .value_counts(name="rows")
        .filter(pl.col("rows") >= step.min_count)
        .sort("rows", "value", descending=[True, False])
        .head(step.max_values)
    )
    return FittedStep(kind="lookup", values=tuple(counts.get_column("value").to_list()))


def _floats(values: npt.NDArray[Any]) -> tuple[float, ...]:
    # Rounded to float32 already here, so that the manifest holds the graph's own numbers.
    return tuple(float(value) for value in np.asarray(values, np.float32))


def _each(x_NP: Numbers, find: Callable[[Numbers], float]) -> tuple[float, ...]:  # noqa: N803
    # A column that is null throughout gets 0.
    seen = (x[~np.isnan(x)] for x in x_NP.T)
    return _floats(np.array([find(x) if len(x) else 0.0 for x in seen]))


def _impute(step: StepSpec, x: Numbers) -> FittedStep:
    if step.value is not None:
        return FittedStep(kind="impute", fill=_floats(np.full(x.shape[1], step.value)))
    return FittedStep(kind="impute", fill=_each(x, lambda seen: float(np.median(seen))))


def _clip(step: StepSpec, x: Numbers) -> FittedStep:
    def bound(given: float | None, quantile: float) -> tuple[float, ...]:
        if given is not None:
            return _floats(np.full(x.shape[1], given))
        return _each(x, lambda seen: float(np.quantile(seen, quantile)))

    low, high = bound(step.low, _LOW), bound(step.high, _HIGH)
    return FittedStep(kind="clip", low=tuple(map(min, low, high)), high=high)


def _scale(_step: StepSpec, x: Numbers) -> FittedStep:
    mean = _each(x, lambda seen: float(seen.mean(dtype=np.float64)))
    deviation = _each(x, lambda seen: float(seen.std(dtype=np.float64)))
    # What is constant up to rounding is left as it is, and not blown up to unit deviation.
    safe = tuple(
        d if d > 1e-6 * max(1e-30, abs(m)) else 1.0 for m, d in zip(mean, deviation, strict=True)
    )
    return FittedStep(kind="scale", mean=mean, deviation=safe)


_FIT: Mapping[str, Callable[[StepSpec, Numbers], FittedStep]] = {
    "impute": _impute,
    "clip": _clip,
    "scale": _scale,
    "log": lambda _step, _x: FittedStep(kind="log"),
    "clock": lambda _step, _x: FittedStep(kind="clock"),
}
