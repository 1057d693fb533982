"""One turn of the loop: from the sources to a challenger that is promoted or held."""

from everloop.ingest import IngestReport, ingest
from everloop.loop.challenger import Making
from everloop.loop.controller import Controller
from everloop.loop.dataset import cut_now
from everloop.loop.keeper import acting
from everloop.loop.labels import pass_on_labels
from everloop.loop.ledger import Run
from everloop.loop.trail import DecisionLine, decision_lines
from everloop.loop.workspace import Workspace
from everloop.spec.errors import DataError
from everloop.spec.record import Record
from everloop.validate import CleanReport, check_syntax, clean

STAGES = ("ingest", "validate", "train", "compress", "gate", "promote")


class StageLine(Record):
    """One stage run of a turn; ``is_new`` is False where an earlier run was found and kept."""

    run: Run
    is_new: bool


class TurnReport(Record):
    """What one turn did.

    Attributes:
        ingested: By source.
        cleaned: By source.
        stages: Runs of train, compress and gate.
        decisions: What was decided in this turn.
        objections: The gate's, where the turn ended there.
        champion: The version now serving, if any.
    """

    ingested: tuple[IngestReport, ...] = ()
    cleaned: tuple[CleanReport, ...] = ()
    stages: tuple[StageLine, ...] = ()
    decisions: tuple[DecisionLine, ...] = ()
    objections: tuple[str, ...] = ()
    champion: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether the gate said hold."""
        return bool(self.objections) or any(d.kind == "hold" for d in self.decisions)


def run_turn(ws: Workspace, *, to: str = "promote") -> TurnReport:
    """Turn the loop once, up to a stage; what is done is skipped, what was killed goes on.

    Raises:
        ProjectError: If an expression cannot be read, or not be computed from the data.
        DataError: If the data cannot be used; the message says why.
        ConflictError: If another controller is at work.
    """
    check_syntax(ws.project)
    with acting(ws):
        ingested = take_in(ws)
        if to == "ingest":
            return TurnReport(ingested=ingested)
        cleaned = clean_all(ws)
        done = TurnReport(ingested=ingested, cleaned=cleaned)
        if to == "validate":
            return done
        if to == "promote":
            return done.model_copy(update=_promote(ws))
        return done.model_copy(update=_make(ws, to))


def take_in(ws: Workspace) -> tuple[IngestReport, ...]:
    """Ingest every source."""
    return tuple(
        ingest(s, ws.tables.table(f"raw/{s.name}"), ws.objects, ws.root, ws.progress)
        for s in ws.project.sources
    )


def clean_all(ws: Workspace) -> tuple[CleanReport, ...]:
    """Validate every source's new rows, and pass on the labels among them."""
    reports = tuple(
        clean(
            source,
            ws.project,
            ws.tables.table(f"raw/{source.name}"),
            ws.tables.table(f"clean/{source.name}"),
            ws.tables.table(f"quarantine/{source.name}"),
            ws.progress,
        )
        for source in ws.project.sources
    )
    pass_on_labels(ws)
    return reports


def _make(ws: Workspace, to: str) -> dict[str, object]:
    making = Making(ws, cut_now(ws))
    bundle = making.trained()
    found: tuple[str, ...] = ()
    if to in ("compress", "gate"):
        bundle = making.compressed(bundle)
    if to == "gate":
        champion = ws.champion()
        found = making.judged(bundle, None if champion is None else champion[1].digest).objections
    stages = tuple(StageLine(run=run, is_new=is_new) for run, is_new in making.runs)
    return {
        "stages": stages,
        "objections": found,
        "champion": ws.registry.aliases().get("champion"),
    }


def _promote(ws: Workspace) -> dict[str, object]:
    controller = Controller(ws)
    before = len(decision_lines(ws))
    since = ws.clock.now().isoformat()
    controller.resume()
    known = Making(ws, cut_now(ws)).known()
    registered = {version.bundle for version in ws.registry.versions()}
    has_failed = controller.state.job is not None
    if known is None or known not in registered or has_failed:
        controller.retrain_by_hand("everloop run")
    decisions = tuple(decision_lines(ws)[before:])
    if decisions and decisions[-1].kind == "failed":
        raise DataError("\n".join(decisions[-1].reasons))
    stages = tuple(
        StageLine(run=run, is_new=True) for run in ws.ledger.runs() if run.started_at >= since
    )
    return {
        "stages": stages,
        "decisions": decisions,
        "champion": controller.state.champion,
    }
