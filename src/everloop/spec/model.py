"""The project file's sections about the model: train, compress, gate."""

from typing import Literal

from pydantic import Field

from everloop.spec.durations import Duration
from everloop.spec.record import Record
from everloop.spec.values import Column, Metric, Part


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
        exclude: Columns that are no features, such as those that are only known with the label.
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
    exclude: tuple[Column, ...] = ()
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
