"""The audit trail of decisions: what an entry holds, and how it is read again.

Each entry holds an event, the actions that followed, the new state and, where a job starts, the
rows it was given.
"""

from datetime import datetime
from typing import Any

from pydantic import JsonValue, TypeAdapter

from everloop.loop.cut import Cut
from everloop.loop.events import Action, AskPerson, Event, LoopState, Recalibrate, Retrain
from everloop.loop.workspace import Workspace
from everloop.spec.errors import DataError
from everloop.spec.record import Record
from everloop.store.log import Entry

_ACTIONS: TypeAdapter[tuple[Action, ...]] = TypeAdapter(tuple[Action, ...])


class DecisionLine(Record):
    """One decision, for people.

    Attributes:
        time: ISO 8601 UTC: stream time, or wall time where there is none.
        kind: Of the action, or ``promoted_by_hand`` and the like.
        version: The version it is about, if any.
        reasons: Why.
    """

    time: str
    kind: str
    version: int | None
    reasons: tuple[str, ...]


def make_record(
    event: Event, state: LoopState, actions: tuple[Action, ...], cut: Cut | None
) -> dict[str, JsonValue]:
    """Return an entry; with the cut where one of the actions starts a job."""
    record: dict[str, JsonValue] = {
        "event": event.model_dump(mode="json"),
        "actions": [action.model_dump(mode="json") for action in actions],
        "state": state.model_dump(mode="json"),
    }
    return record if cut is None else {**record, "cut": _dump_cut(cut)}


def find_job(ws: Workspace, job: int) -> tuple[Retrain | Recalibrate, Cut]:
    """Find in the trail how a job began: its action, and the rows it was given.

    Raises:
        DataError: If no entry starts it.
    """
    for entry in reversed(ws.decisions.entries()):
        for action in _actions(entry):
            if isinstance(action, Retrain | Recalibrate) and action.job == job:
                return action, _read_cut(entry.record["cut"])
    raise DataError(f"decisions/{ws.model}: no entry starts job {job}")


def decision_lines(ws: Workspace) -> list[DecisionLine]:
    """Read the audit trail, verified, as lines for people."""
    lines = []
    for entry in ws.decisions.entries():
        event: Any = entry.record["event"]
        time = event["stream_time"] or event["wall_time"]
        if event["kind"].endswith("_by_hand") and event["kind"] != "retrain_by_hand":
            version = event.get("version") or event.get("to_version")
            reasons = (event["reason"],) if event.get("reason") else ()
            kind = event["kind"]
            lines.append(DecisionLine(time=time, kind=kind, version=version, reasons=reasons))
        if event["kind"] == "training_failed":
            lines.append(
                DecisionLine(time=time, kind="failed", version=None, reasons=(event["error"],))
            )
        lines += [
            DecisionLine(
                time=time,
                kind=action.kind,
                version=_version(action),
                reasons=tuple(reason_of(action).split("\n")),
            )
            for action in _actions(entry)
        ]
    return lines


def _actions(entry: Entry) -> tuple[Action, ...]:
    return _ACTIONS.validate_python(entry.record["actions"])


def reason_of(action: Action) -> str:
    """Return why an action is to be done, a line for each reason."""
    reasons = getattr(action, "reasons", None)
    return "\n".join(reasons) if reasons is not None else str(getattr(action, "reason", ""))


def in_words(action: Action) -> str:
    """Return an action with its reasons as one line."""
    version = _version(action)
    about = "" if version is None else f" version {version}"
    reasons = "; ".join(reason_of(action).split("\n"))
    answer = f"; `everloop promote {version}` says yes" if isinstance(action, AskPerson) else ""
    return f"{action.kind.replace('_', ' ')}{about}: {reasons}{answer}"


def _version(action: Action) -> int | None:
    found = getattr(action, "version", getattr(action, "to_version", None))
    return found if isinstance(found, int) else None


def _dump_cut(cut: Cut) -> dict[str, JsonValue]:
    return {
        "tables": dict(cut.versions),
        "until": None if cut.until is None else cut.until.isoformat(),
    }


def _read_cut(record: Any) -> Cut:  # noqa: ANN401
    until = record["until"]
    return Cut(dict(record["tables"]), None if until is None else datetime.fromisoformat(until))
