"""The project file's sections about what runs: serve, monitor, console, retrain."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from everloop.spec.durations import Duration
from everloop.spec.record import Record


class ServeSpec(Record):
    """`[serve]`: the Open Inference Protocol v2 over HTTP.

    Attributes:
        host: Address to bind; 127.0.0.1 is seen by this machine only.
        port: 0 takes a free one.
        hosts: Names of this server, such as that of a proxy before it, that requests may name in
            their Host and Origin headers, besides this machine's own. On 127.0.0.1 a request must
            name one of them; anywhere, a page of another site cannot post.
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
    hosts: tuple[str, ...] = ()
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
