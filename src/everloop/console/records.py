"""What the report and the status page show, as plain records; the loop fills them in."""

from datetime import date

from pydantic import Field

from everloop.spec.record import Record


class WeekScore(Record):
    """One week of the stream, scored after its labels came.

    Attributes:
        start: First day of the week.
        rows: Labelled rows in it.
        label_rate: Share of rows with the positive label.
        auc_frozen: Of the first champion, never remade; null where a week has only one class.
        auc_everloop: Of whatever was champion when each row was served.
        logloss_frozen: Of the first champion.
        logloss_everloop: Of whatever was champion.
    """

    start: date
    rows: int
    label_rate: float
    auc_frozen: float | None
    auc_everloop: float | None
    logloss_frozen: float | None
    logloss_everloop: float | None


class DriftCell(Record):
    """How far one column is from its reference in one week; ``start`` is the week's first day."""

    start: date
    column: str
    psi: float


class DecisionLine(Record):
    """One decision of the loop.

    Attributes:
        time: Of the stream, ISO 8601.
        kind: ``retrain``, ``recalibrate``, ``promote``, ``hold``, ``roll_back`` or a newer word.
        version: What it is about, if that is a version.
        reasons: Sentences; each names the setting that decided.
    """

    time: str
    kind: str
    version: int | None = None
    reasons: tuple[str, ...] = ()


class VersionLine(Record):
    """One version of the model.

    Attributes:
        number: In the registry.
        created_at: ISO 8601.
        trained_through: Newest time of the rows it learned from, ISO 8601.
        family: Kind of model.
        variant: ``fp32`` or what compression chose.
        size_kb: Of its bundle.
        gate_metric: What the gate measured, in the gate's metric.
        note: Such as the aliases that point at it.
    """

    number: int
    created_at: str
    trained_through: str | None = None
    family: str
    variant: str = "fp32"
    size_kb: float
    gate_metric: float | None = None
    note: str = ""


class ReportData(Record):
    """Everything the report says about a replay.

    Attributes:
        title: Of the page.
        subtitle: One sentence under it.
        weeks: In order of time.
        drift: Any order; columns and weeks that are missing stay empty.
        decisions: In order of time.
        versions: In order of number.
        stage_seconds: Stage to seconds spent in it.
        requests: Sent to the server.
        requests_failed: Of these, answered with an error or not at all.
        p50_ms: Median time of a request.
        p99_ms: Time that 1 of 100 requests exceeded.
        seconds: The whole run took.
        positive: The positive label in a word, such as ``late``.
        gate_metric: Name of the versions' gate metric.
        psi_limit: PSI that counts as drift.
    """

    title: str
    subtitle: str
    weeks: tuple[WeekScore, ...]
    drift: tuple[DriftCell, ...] = ()
    decisions: tuple[DecisionLine, ...] = ()
    versions: tuple[VersionLine, ...] = ()
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    requests: int = 0
    requests_failed: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    seconds: float
    positive: str = "positive"
    gate_metric: str = "gate metric"
    psi_limit: float = 0.25


class Champion(Record):
    """The version that serves, and what its manifest says it measured."""

    version: VersionLine
    metrics: dict[str, float] = Field(default_factory=dict)


class LiveWindow(Record):
    """Metrics of what was served in one window whose labels have come; times are ISO 8601."""

    start: str
    end: str
    rows: int
    values: dict[str, float] = Field(default_factory=dict)


class ColumnDrift(Record):
    """How far one column of the current window is from its reference."""

    column: str
    psi: float


class QuarantineCount(Record):
    """Rows of one source that one rule set aside."""

    source: str
    rule: str
    rows: int


class StatusData(Record):
    """Everything the status page says about a project.

    Attributes:
        project: Its name.
        store: Where its state lies; a URL without secrets.
        as_of: When this was read, ISO 8601.
        stream_time: Newest time of the rows seen, ISO 8601.
        aliases: Alias to version number.
        champion: None before the first promotion.
        windows: Live metrics, in order of time.
        drift: Of the newest window.
        psi_limit: PSI that counts as drift.
        decisions: In order of time.
        versions: In order of number.
        gate_metric: Name of the versions' gate metric.
        quarantine: Counts by source and rule.
        clean_rows: Source to its rows that passed.
        looked_at: When the loop last looked, ISO 8601; None if it never did.
        troubles: What the loop and the shipper could not do, in sentences.
    """

    project: str
    store: str
    as_of: str
    stream_time: str | None = None
    aliases: dict[str, int] = Field(default_factory=dict)
    champion: Champion | None = None
    windows: tuple[LiveWindow, ...] = ()
    drift: tuple[ColumnDrift, ...] = ()
    psi_limit: float = 0.25
    decisions: tuple[DecisionLine, ...] = ()
    versions: tuple[VersionLine, ...] = ()
    gate_metric: str = "gate metric"
    quarantine: tuple[QuarantineCount, ...] = ()
    clean_rows: dict[str, int] = Field(default_factory=dict)
    looked_at: str | None = None
    troubles: tuple[str, ...] = ()
