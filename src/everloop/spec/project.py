"""The project file's records: every section, key and default of ``everloop.toml``."""

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from everloop.spec.durations import Duration, format_duration, parse_duration
from everloop.spec.record import Record, tuples
from everloop.spec.secrets import Secret
from everloop.spec.steps import StepEntry

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "expected a name of lower-case letters, digits, '.', '_' and '-', 64 at most, "
            "that begins with a letter or digit"
        )
    return name


Name = Annotated[
    str, AfterValidator(_check_name), WithJsonSchema({"type": "string", "pattern": _NAME.pattern})
]
Column = Annotated[str, Field(min_length=1, max_length=255)]
Ratio = Annotated[float, Field(ge=0, le=1)]
Metric = Literal["auc", "log_loss", "brier", "accuracy", "rmse", "mae"]
Expression = Annotated[str, Field(min_length=1, max_length=10_000)]
"""A SQL expression over columns, such as ``arr_delay > 30``, as Polars reads it."""

_SECRET_WORDS = ("secret", "password", "token", "account_key", "private", "credential")


class ProjectSection(Record):
    """`[project]`: what the model is called."""

    name: Name


def _check_secret_options(options: dict[str, str | Secret]) -> dict[str, str | Secret]:
    return {
        key: Secret(value)
        if isinstance(value, str) and any(word in key.lower() for word in _SECRET_WORDS)
        else value
        for key, value in options.items()
    }


class StoreSpec(Record):
    """`[store]`: where all state lies.

    Attributes:
        url: A directory, or ``s3://``, ``gs://``, ``az://``.
        options: Settings of an object store by its usual names, such as ``aws_endpoint``; secrets
            as ``${NAME}`` or ``file:PATH``.
    """

    url: str = "./.everloop"
    options: Annotated[dict[str, str | Secret], AfterValidator(_check_secret_options)] = Field(
        default_factory=dict
    )


class LabelSpec(Record):
    """What the model learns to say.

    Attributes:
        expression: A column's name or an expression over columns; null means no label.
        known_after: How long after a row's time its label is known.
    """

    expression: Expression
    known_after: Duration = timedelta(0)


def _label_from_word(label: object) -> object:
    return {"expression": label} if isinstance(label, str) else label


class SourceSpec(Record):
    """`[[sources]]`: where rows come from; the first one is the main one.

    Attributes:
        name: Names the source's tables.
        kind: How it is read.
        path: A file or a glob; relative to the project file.
        format: Of the files; ``auto`` goes by the ending.
        time: The column that says when a row happened; rows are in order of arrival without one.
        key: The columns that tell rows apart; a repeated key is kept once.
        label: The main source's label: a column, an expression, or a table with ``known_after``.
        piece_rows: Rows read and committed at a time; bounds memory.
    """

    name: Name = "main"
    kind: Literal["files"] = "files"
    path: str = Field(min_length=1)
    format: Literal["auto", "parquet", "csv", "jsonl"] = "auto"
    time: Column | None = None
    key: tuple[Column, ...] = ()
    label: Annotated[LabelSpec | None, BeforeValidator(_label_from_word)] = None
    piece_rows: int = Field(default=500_000, ge=1)


class WindowSpec(Record):
    """Aggregates of a joined source over a trailing window.

    Attributes:
        length: How far back the window reaches.
        columns: New column to aggregate expression, such as ``MAX(wind_speed)``.
    """

    length: Duration
    columns: dict[Column, Expression]


class JoinSpec(Record):
    """`[join]`: an as-of join of another source; each row gets the last one known before its time.

    Attributes:
        source: The source to join.
        by: Columns that must be equal in both.
        lag: Only rows at least this old are used, so that nothing from the future leaks in.
        max_age: Rows older than this are not used.
        columns: Columns to take; all but ``by``, time and key where it is left out.
        window: Aggregates over the rows before that time.
    """

    source: Name
    by: tuple[Column, ...] = ()
    lag: Duration = timedelta(0)
    max_age: Duration | None = None
    columns: tuple[Column, ...] | None = None
    window: WindowSpec | None = None


class LabelsSpec(Record):
    """`[labels]`: a source that brings late labels of served rows, beside ``POST /v1/labels``.

    Attributes:
        source: Its name among the sources, not the main one.
        id: Its column with the prediction's id.
        label: Its column with the label.
    """

    source: Name
    id: Column = "prediction_id"
    label: Column = "label"


class FilterSpec(Record):
    """`[filter]`: rows of the main source that are valid but not wanted; they are counted.

    Attributes:
        keep: Expression that is true for rows to keep.
        deduplicate: Keep only the first row of a key.
    """

    keep: Expression | None = None
    deduplicate: bool = True


class ColumnSpec(Record):
    """`[columns.NAME]`: what a column must look like, and its row steps.

    Attributes:
        kind: ``auto`` goes by the data: text is a category, a date is a time, the rest is a number.
        required: Whether null breaks a rule.
        min: Smallest number allowed.
        max: Largest number allowed.
        values: The only values allowed.
        pattern: Regular expression that the whole text must match.
        unique: Whether a value may occur once only; all rows of a repeated one are set aside.
        steps: Row steps, in order; those usual for the kind and the model where it is left out.
    """

    kind: Literal["auto", "number", "category", "time"] = "auto"
    required: bool = False
    min: float | None = None
    max: float | None = None
    values: tuple[str | float, ...] | None = None
    pattern: str | None = Field(default=None, max_length=1000)
    unique: bool = False
    steps: tuple[StepEntry, ...] | None = None


class RuleSpec(Record):
    """`[[rules]]`: an expression that every row of a source must hold.

    Attributes:
        name: Stands in quarantine beside each row that breaks it.
        expression: True for a good row; null counts as broken.
        source: The main source where it is left out.
    """

    name: Name
    expression: Expression
    source: Name | None = None


class ValidateSpec(Record):
    """`[validate]`.

    Attributes:
        max_bad_ratio: A run fails if a larger share of its rows breaks a rule.
    """

    max_bad_ratio: Ratio = 0.1


def _parse_part(part: object) -> float | timedelta:
    if isinstance(part, float) and 0 < part < 1:
        return part
    if isinstance(part, str | timedelta):
        return parse_duration(part)
    raise ValueError("expected a share between 0 and 1, or a length of time such as '7d'")


Part = Annotated[
    float | timedelta,
    PlainValidator(_parse_part),
    PlainSerializer(lambda p: format_duration(p) if isinstance(p, timedelta) else p),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                {"type": "string", "examples": ["7d"]},
            ]
        }
    ),
]


class SplitSpec(Record):
    """`[train.split]`: how the newest rows are set aside, each a share or a length of time.

    Attributes:
        tune: For early stopping and calibration.
        select: For compression to choose on.
        gate: The newest rows, for the gate alone.
    """

    tune: Part = 0.1
    select: Part = 0.05
    gate: Part = 0.15


class BoostingSpec(Record):
    """`[train.boosting]`: gradient boosted trees (LightGBM)."""

    num_trees: int = Field(default=500, ge=1, le=20_000)
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    num_leaves: int = Field(default=31, ge=2, le=4096)
    min_leaf_rows: int = Field(default=50, ge=1)
    column_ratio: float = Field(default=0.8, gt=0, le=1)
    l2: float = Field(default=1.0, ge=0)
    max_bin: int = Field(default=255, ge=2, le=65_535)
    """Bins of a column; fewer is faster."""
    extra_trees: bool = False
    """Whether each split's threshold is drawn at random: faster, and steadier on few rows."""
    patience: int = Field(default=30, ge=0)
    """Trees without gain on the tune rows before training stops; 0 keeps all trees."""


class NetworkSpec(Record):
    """`[train.network]`: embeddings of categories and a residual network (PyTorch)."""

    width: int = Field(default=128, ge=4, le=4096)
    num_blocks: int = Field(default=2, ge=1, le=32)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    epochs: int = Field(default=20, ge=1, le=10_000)
    batch_rows: int = Field(default=512, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0, le=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    patience: int = Field(default=3, ge=1)
    """Epochs without gain on the tune rows before training stops."""


class TrainSpec(Record):
    """`[train]`.

    Attributes:
        model: The family.
        task: ``auto`` goes by the label: two values, few values or text, or a number.
        rows: ``source``: labels arrive with the data. ``feedback``: the source's rows up to the
            first logged prediction, then logged inputs joined with late labels.
        features: Input columns; all but key, time and those in the label where it is left out.
        recent: Rows of this newest stretch are all used; older ones fill up to ``max_rows``.
        max_rows: Rows to fit on at most; older rows are sampled evenly.
        seed: Of everything random.
        calibrate: Whether slope and bias are fitted on the tune rows.
        threads: Threads to train with.
    """

    model: Literal["boosting", "network"] = "boosting"
    task: Literal["auto", "binary", "multiclass", "regression"] = "auto"
    rows: Literal["source", "feedback"] = "source"
    features: tuple[Column, ...] | None = None
    recent: Duration | None = None
    max_rows: int | None = Field(default=None, ge=10)
    seed: int = Field(default=0, ge=0, lt=2**31)
    calibrate: bool = True
    threads: int = Field(default=1, ge=1, le=1024)
    split: SplitSpec = SplitSpec()
    boosting: BoostingSpec = BoostingSpec()
    network: NetworkSpec = NetworkSpec()


class CompressSpec(Record):
    """`[compress]`: smaller variants of the numeric core, measured against it.

    Attributes:
        variants: What is tried; an empty list tries nothing.
        max_loss: How much of the gate's metric a variant may lose on the select rows.
        min_speedup: A variant must be at least this much faster, or it is not worth its loss.
    """

    variants: tuple[Literal["int8"], ...] = ("int8",)
    max_loss: float = Field(default=0.002, ge=0)
    min_speedup: float = Field(default=1.1, ge=0)


class GateSpec(Record):
    """`[gate]`: what a challenger must show on the newest labelled rows.

    Attributes:
        metric: What is judged; ``log_loss`` for classes, ``rmse`` for numbers if left out.
        floor: The metric must be at least this good.
        rule: ``better``: the lower end of the gain's interval must reach ``min_gain``.
            ``not_worse``: the gain itself must reach it, and the interval's upper end must not be
            under 0; for a model made of newer rows, which is worth more than a few days can show.
        min_gain: Gain over the champion, in the metric's own unit; a negative one tolerates a loss.
        confidence: Of the interval.
        slices: Columns whose every frequent value is judged on its own.
        slice_floor: The metric's floor in every slice.
        slice_min_rows: Slices with fewer rows are not judged.
        min_rows: With fewer gate rows the gate holds.
        max_latency_ms: Of a batch of one row, median.
        max_size_mb: Of the bundle.
        promote: ``manual`` waits for ``everloop promote``.
    """

    metric: Metric | None = None
    floor: float | None = None
    rule: Literal["better", "not_worse"] = "better"
    min_gain: float = 0.0
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    slices: tuple[Column, ...] = ()
    slice_floor: float | None = None
    slice_min_rows: int = Field(default=200, ge=1)
    min_rows: int = Field(default=100, ge=1)
    max_latency_ms: float = Field(default=50.0, gt=0)
    max_size_mb: float = Field(default=200.0, gt=0)
    promote: Literal["auto", "manual"] = "auto"


class ServeSpec(Record):
    """`[serve]`: the Open Inference Protocol v2 over HTTP.

    Attributes:
        host: Address to bind; 127.0.0.1 is seen by this machine only.
        port: 0 takes a free one.
        max_batch_rows: Rows of one model call at most; also of one request.
        max_wait_ms: How long a lone request waits for company; 0 batches what is there.
        max_queue_rows: Rows that may wait; more are refused with 503.
        max_body_mb: Of a request.
        request_timeout: A request that waited longer is refused with 503.
        drain_timeout: How long a stopping replica finishes what it took.
        spool: Directory for predictions and labels before they are shipped; in the store's
            directory, or beside the project file where the store is elsewhere, if left out.
        spool_mb: Bound on the spool; past it predictions go unlogged and are counted.
        poll_interval: How often the route is looked up.
        ship_interval: How often the spool is committed to tables.
        threads: Threads of one model call.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    max_batch_rows: int = Field(default=1024, ge=1, le=1_000_000)
    max_wait_ms: float = Field(default=0.0, ge=0, le=10_000)
    max_queue_rows: int = Field(default=16_384, ge=1)
    max_body_mb: float = Field(default=16.0, gt=0)
    request_timeout: Duration = timedelta(seconds=30)
    drain_timeout: Duration = timedelta(seconds=30)
    spool: str | None = None
    spool_mb: float = Field(default=1024.0, gt=0)
    poll_interval: Duration = timedelta(milliseconds=100)
    ship_interval: Duration = timedelta(seconds=1)
    threads: int = Field(default=1, ge=1, le=1024)


class MonitorSpec(Record):
    """`[monitor]`: live metrics and drift.

    Attributes:
        window: The current window: live metrics and drift look at this newest stretch.
        every: How much further in stream time before both are measured again.
        min_rows: With fewer rows no metric and no drift is reported.
        psi: Population stability index of a column that counts as drift.
        bins: Bins of a column's profile.
    """

    window: Duration = timedelta(days=7)
    every: Duration = timedelta(hours=1)
    min_rows: int = Field(default=200, ge=1)
    psi: float = Field(default=0.25, gt=0)
    bins: int = Field(default=10, ge=2, le=1024)


class ConsoleSpec(Record):
    """`[console]`: the pages for the browser."""

    host: str = "127.0.0.1"
    port: int = Field(default=8090, ge=0, le=65535)


class RetrainSpec(Record):
    """`[retrain]`: when the loop remakes the model, corrects it, or undoes a promotion.

    All lengths are of stream time, the time of the rows, so a replay behaves as the real thing.

    Attributes:
        every: Retrain after so much time; never for that reason alone where it is left out.
        after_rows: Retrain after so many new labelled rows.
        on_drift: Retrain when this share of the columns has drifted.
        live_floor: Retrain when the live metric falls under this.
        cooldown: Least time between two retrains.
        recalibrate_every: Refit slope and bias of the champion after so much time.
        recalibrate_window: On the labelled rows of this newest stretch that the champion was not
            fitted to, less those of the gate.
        recalibrate_prior_rows: How many rows the pull towards slope 1 and bias 0 weighs; the rows
            of a few weeks are many, but the weather in them is of few kinds.
        rollback: Whether a champion worse than its predecessor on the same rows is undone.
        rollback_window: How far back the two are compared.
        rollback_min_rows: Fewer labelled rows decide nothing.
        rollback_confidence: How sure the loss must be.
        poll_interval: How often ``watch`` looks (of real time).
    """

    every: Duration | None = None
    after_rows: int | None = Field(default=None, ge=1)
    on_drift: Annotated[float, Field(gt=0, le=1)] | None = None
    live_floor: float | None = None
    cooldown: Duration = timedelta(days=1)
    recalibrate_every: Duration | None = None
    recalibrate_window: Duration = timedelta(days=28)
    recalibrate_prior_rows: float = Field(default=8000.0, ge=0)
    rollback: bool = True
    rollback_window: Duration = timedelta(days=14)
    rollback_min_rows: int = Field(default=1000, ge=1)
    rollback_confidence: float = Field(default=0.99, gt=0.5, lt=1)
    poll_interval: Duration = timedelta(seconds=1)


def _as_list(joins: object) -> object:
    return tuples([joins] if isinstance(joins, dict) else joins)


class Project(Record):
    """One ``everloop.toml``, read and checked."""

    project: ProjectSection
    store: StoreSpec = StoreSpec()
    sources: tuple[SourceSpec, ...] = Field(min_length=1, max_length=100)
    join: Annotated[tuple[JoinSpec, ...], BeforeValidator(_as_list)] = ()
    labels: LabelsSpec | None = None
    filter: FilterSpec = FilterSpec()
    columns: dict[Column, ColumnSpec] = Field(default_factory=dict)
    rules: tuple[RuleSpec, ...] = ()
    validate_: ValidateSpec = Field(default=ValidateSpec(), alias="validate")
    train: TrainSpec = TrainSpec()
    compress: CompressSpec = CompressSpec()
    gate: GateSpec = GateSpec()
    serve: ServeSpec = ServeSpec()
    console: ConsoleSpec = ConsoleSpec()
    monitor: MonitorSpec = MonitorSpec()
    retrain: RetrainSpec = RetrainSpec()

    @property
    def main(self) -> SourceSpec:
        """The main source, which brings the label."""
        return self.sources[0]

    @property
    def label(self) -> LabelSpec:
        """The main source's label; the check of the file makes sure there is one."""
        assert self.main.label is not None
        return self.main.label

    def source(self, name: str) -> SourceSpec:
        """Return the source of that name.

        Raises:
            KeyError: If there is none.
        """
        for source in self.sources:
            if source.name == name:
                return source
        raise KeyError(name)

    @model_validator(mode="after")
    def _check_across(self) -> "Project":
        # Only what no single section can see is checked here; `spec/file.py` splits the text at
        # line breaks into one problem each.
        found = [*_check_sources(self), *_check_references(self)]
        if found:
            raise ValueError("\n".join(found))
        return self


def _check_sources(project: Project) -> list[str]:
    names = [source.name for source in project.sources]
    found = [
        f"sources[{i}].name: {name!r} is used twice; give each source a name of its own"
        for i, name in enumerate(names)
        if name in names[:i]
    ]
    if project.main.label is None:
        found.append("sources[0].label: missing; name the column or expression to learn")
    found += [
        f"sources[{i}].label: only the first source may have a label"
        for i, source in enumerate(project.sources)
        if i and source.label is not None
    ]
    found += [
        f"rules[{i}].source: found {rule.source!r}, expected one of {', '.join(names)}"
        for i, rule in enumerate(project.rules)
        if rule.source is not None and rule.source not in names
    ]
    return found


def _check_references(project: Project) -> list[str]:
    names = [source.name for source in project.sources[1:]]
    found = []
    if project.labels is not None and project.labels.source not in names:
        others = ", ".join(names) or "none: add a second [[sources]]"
        found.append(f"labels.source: found {project.labels.source!r}, expected one of {others}")
    for i, join in enumerate(project.join):
        if join.source not in names:
            others = ", ".join(names) or "none: add a second [[sources]]"
            found.append(f"join[{i}].source: found {join.source!r}, expected one of {others}")
        elif project.source(join.source).time is None or project.main.time is None:
            found.append(f"join[{i}]: both sources need a time column for an as-of join")
    return found
