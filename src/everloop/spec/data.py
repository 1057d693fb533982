"""The project file's sections about data: store, sources, joins, filters, columns, rules."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from everloop.spec.durations import Duration
from everloop.spec.record import Record
from everloop.spec.secrets import Secret
from everloop.spec.steps import StepEntry
from everloop.spec.values import Column, Expression, Name, Ratio

_SECRET_WORDS = ("secret", "password", "token", "account_key", "private", "credential")


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
