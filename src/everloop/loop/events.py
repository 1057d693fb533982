"""What the loop's decision is made of: its state, what happened, and what to do, all as records.

Two clocks: stream time is that of the newest rows, so that a replay of old data decides as the real
thing did; wall time is only for waiting after a failure.
"""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from everloop.measure.intervals import Interval
from everloop.spec.record import Record


class Job(Record):
    """The one piece of work that may be under way.

    Attributes:
        number: Counts up; a message about another number is late or doubled, and ignored.
        kind: What it makes.
        stage: ``run`` until the version is there, ``gate`` until it is judged, ``failed`` while the
            next attempt waits.
        reason: Why it was started.
        version: What it made, once it is there.
        num_failures: Attempts that failed.
        failed_at: Wall time of the last failure.
    """

    number: int
    kind: Literal["retrain", "recalibrate"]
    stage: Literal["run", "gate", "failed"] = "run"
    reason: str
    version: int | None = None
    num_failures: int = 0
    failed_at: AwareDatetime | None = None


class LoopState(Record):
    """All that the decision remembers.

    Attributes:
        stream_time: Newest stream time seen; it never goes back.
        started_at: First stream time seen.
        champion: The version that serves.
        former: The one it replaced, to which a rollback would go.
        promoted_at: Stream time of the last promotion.
        rejected: Versions that were rolled back; only a person promotes them again.
        waiting: Version that passed the gate and waits for a person.
        job: Work under way.
        num_jobs: Jobs started so far.
        num_labelled: Labelled rows there are.
        retrained_at: Stream time at which the last retrain started.
        labelled_at_retrain: Labelled rows there were then.
        recalibrated_at: Stream time at which the last recalibration started.
        labelled_at_recalibration: Labelled rows there were then.
        rolled_back_at: Stream time of the last rollback.
    """

    stream_time: AwareDatetime | None = None
    started_at: AwareDatetime | None = None
    champion: int | None = None
    former: int | None = None
    promoted_at: AwareDatetime | None = None
    rejected: tuple[int, ...] = ()
    waiting: int | None = None
    job: Job | None = None
    num_jobs: int = 0
    num_labelled: int = 0
    retrained_at: AwareDatetime | None = None
    labelled_at_retrain: int = 0
    recalibrated_at: AwareDatetime | None = None
    labelled_at_recalibration: int = 0
    rolled_back_at: AwareDatetime | None = None


class LiveFact(Record):
    """The live metric of one version in the newest window."""

    metric: str
    value: float
    version: int
    num_rows: int


class Comparison(Record):
    """A version and the one it replaced, scored on the same logged rows since the promotion.

    Attributes:
        version: The newer one.
        former: The older one.
        num_rows: Labelled rows.
        gain: Of the newer one; from `everloop.monitor.compare_versions`.
    """

    version: int
    former: int
    num_rows: int
    gain: Interval


class _Moment(Record):
    """When something happened.

    Attributes:
        stream_time: Time of the newest row, None where rows have no time: wall time then stands in.
            The caller caps it at the wall clock, so that one row from the far future does not stop
            the loop.
        wall_time: Of the machine.
    """

    stream_time: AwareDatetime | None = None
    wall_time: AwareDatetime


class Tick(_Moment):
    """Time went by; nothing was measured."""

    kind: Literal["tick"] = "tick"


class Observed(_Moment):
    """Data was looked at.

    Attributes:
        kind: Of the event.
        num_labelled: All labelled rows there are.
        drift_share: Share of the columns that have drifted; None where that is unknown.
        live: The champion's live metric, where there are enough rows.
        comparison: The champion and the one before it, where there is one.
    """

    kind: Literal["observed"] = "observed"
    num_labelled: int
    drift_share: float | None = None
    live: LiveFact | None = None
    comparison: Comparison | None = None


class TrainingFinished(_Moment):
    """A job, of either kind, has made a version."""

    kind: Literal["training_finished"] = "training_finished"
    job: int
    version: int


class TrainingFailed(_Moment):
    """A job failed, in its run or at the gate; the error is for people."""

    kind: Literal["training_failed"] = "training_failed"
    job: int
    error: str


class GateJudged(_Moment):
    """The gate has spoken.

    Attributes:
        kind: Of the event.
        version: The challenger.
        champion: The version it was judged against, if there was one.
        objections: From `everloop.gate.objections`; none means that it passed.
        summary: What speaks for it, for the record of a promotion.
    """

    kind: Literal["gate_judged"] = "gate_judged"
    version: int
    champion: int | None = None
    objections: tuple[str, ...]
    summary: tuple[str, ...] = ()


class PromotedByHand(_Moment):
    """A person made a version the champion."""

    kind: Literal["promoted_by_hand"] = "promoted_by_hand"
    version: int
    reason: str = ""


class RolledBackByHand(_Moment):
    """A person undid the champion."""

    kind: Literal["rolled_back_by_hand"] = "rolled_back_by_hand"
    to_version: int
    reason: str = ""


class RetrainByHand(_Moment):
    """A person asked for a challenger now, whatever the triggers say."""

    kind: Literal["retrain_by_hand"] = "retrain_by_hand"
    num_labelled: int
    reason: str


Event = Annotated[
    Tick
    | Observed
    | TrainingFinished
    | TrainingFailed
    | GateJudged
    | PromotedByHand
    | RolledBackByHand
    | RetrainByHand,
    Field(discriminator="kind"),
]


class Retrain(Record):
    """Start a training; `TrainingFinished` or `TrainingFailed` must answer with its job number."""

    kind: Literal["retrain"] = "retrain"
    job: int
    attempt: int = 1
    reason: str


class Recalibrate(Record):
    """Refit slope and bias of a version; answered as a training is."""

    kind: Literal["recalibrate"] = "recalibrate"
    job: int
    version: int
    reason: str


class Promote(Record):
    """Make a version the champion; doing it twice is the same as once."""

    kind: Literal["promote"] = "promote"
    version: int
    reasons: tuple[str, ...]


class Hold(Record):
    """Leave the champion where it is."""

    kind: Literal["hold"] = "hold"
    version: int
    reasons: tuple[str, ...]


class RollBack(Record):
    """Make the former version the champion again; doing it twice is the same as once."""

    kind: Literal["roll_back"] = "roll_back"
    from_version: int
    to_version: int
    reason: str


class AskPerson(Record):
    """The gate passed and a person has the last word: ``everloop promote``."""

    kind: Literal["ask_person"] = "ask_person"
    version: int
    reasons: tuple[str, ...]


Action = Annotated[
    Retrain | Recalibrate | Promote | Hold | RollBack | AskPerson, Field(discriminator="kind")
]
