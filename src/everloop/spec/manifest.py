"""The manifest: what made a bundle, and everything a replica needs to serve it."""

from typing import Literal

from pydantic import Field

from everloop.spec.record import Record
from everloop.spec.steps import ColumnSteps

MANIFEST_FORMAT = 1

Task = Literal["binary", "multiclass", "regression"]
Datatype = Literal["FP32", "INT64", "BYTES"]


class FileDigest(Record):
    """One file of a bundle; the sha256 is of its bytes, in hex."""

    name: str
    sha256: str
    size_bytes: int


class Tensor(Record):
    """An input or output of the graph, in the words of the Open Inference Protocol.

    Attributes:
        name: Of the tensor.
        datatype: Of the protocol.
        shape: -1 stands for the number of rows.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


class RowRange(Record):
    """The rows of one split.

    Attributes:
        num_rows: How many.
        first: Earliest time (ISO 8601, UTC), or row number where the source has no time.
        last: Latest, inclusive.
    """

    num_rows: int
    first: str
    last: str


class DataVersion(Record):
    """A table's version that was read."""

    table: str
    version: int


class Calibration(Record):
    """Slope and bias on the logit (classes) or on the value (regression)."""

    slope: float = 1.0
    bias: float = 0.0


class Manifest(Record):
    """What made a bundle.

    Attributes:
        format: Of this record; a newer everloop reads older ones.
        name: The project's name, which is the model's.
        task: ``binary`` answers ``probability`` (rows,), ``multiclass`` ``probabilities``
            (rows, classes), ``regression`` ``prediction`` (rows,).
        family: Which kind of model.
        classes: The label's values in the order of the output, as text; empty for regression.
        inputs: Of the graph, one for each column.
        outputs: Of the graph.
        columns: Each input's row steps; trim, lower and parse are the caller's or the replica's,
            the rest is in the graph.
        logged: Columns that a request may bring along to be logged: time and key.
        time_column: The logged column that says when a row happened, if any.
        files: Every file but the manifest.
        data: Table versions that were read.
        splits: ``fit``, ``tune``, ``select``, ``gate`` to their rows.
        metrics: What was measured, such as ``tune.log_loss``.
        calibration: What was folded into the graph.
        variant: ``fp32`` or what compression chose.
        parents: Bundle digests it was made from, for a recalibration or a compression.
        project_digest: sha256 of the project's canonical JSON.
        seed: Of training.
        created_at: ISO 8601 UTC.
        stream_time: Newest time of data that had been seen, ISO 8601 UTC, if the source has a time.
        versions: Library to version.
        licences: Of weights that came from elsewhere.
    """

    format: int = MANIFEST_FORMAT
    name: str
    task: Task
    family: str
    classes: tuple[str, ...] = ()
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    columns: tuple[ColumnSteps, ...]
    logged: tuple[str, ...] = ()
    time_column: str | None = None
    files: tuple[FileDigest, ...] = ()
    data: tuple[DataVersion, ...] = ()
    splits: dict[str, RowRange] = Field(default_factory=dict)
    metrics: dict[str, float] = Field(default_factory=dict)
    calibration: Calibration = Calibration()
    variant: str = "fp32"
    parents: tuple[str, ...] = ()
    project_digest: str
    seed: int = 0
    created_at: str
    stream_time: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    licences: dict[str, str] = Field(default_factory=dict)
