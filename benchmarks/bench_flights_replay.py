"""Does everloop beat the calendar? Replay March to December; rivals, seeds and all CPU counted.

The year runs through everloop's own controller: rows served in a week are logged with what the
champion of that moment said, their labels come a day later, and at each week's end the loop looks,
retrains, judges and promotes. Only the HTTP server is left out; the demo has that. The rivals use
the same rows, inputs and LightGBM settings: a frozen first champion, a retrain on everything every
four weeks, and one every week (the best that can be had, at full cost).

    python benchmarks/bench_flights_replay.py --seeds 0 1 2 --write
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import lightgbm
import numpy as np
import numpy.typing as npt
import polars as pl

FLIGHTS = Path(__file__).parents[1] / "examples" / "flights"
sys.path.insert(0, str(FLIGHTS))

from prepare import history, prepare  # noqa: E402

from everloop.frameworks.scoring import score_frame  # noqa: E402
from everloop.loop.controller import Controller, decision_lines  # noqa: E402
from everloop.loop.dataset import LABELS, PREDICTIONS, Cut, cut_now, source_rows  # noqa: E402
from everloop.loop.events import Observed  # noqa: E402
from everloop.loop.facts import Looking, num_labelled  # noqa: E402
from everloop.loop.ledger import Run  # noqa: E402
from everloop.loop.turn import run_turn  # noqa: E402
from everloop.loop.workspace import Workspace  # noqa: E402
from everloop.measure.metrics import metric  # noqa: E402
from everloop.rows.fit import fit_columns  # noqa: E402
from everloop.rows.vectorised import encode  # noqa: E402
from everloop.validate.join import join  # noqa: E402

VERBOSE = "-v" in sys.argv
WEEK = timedelta(days=7)
START = datetime(2013, 3, 1, 5, tzinfo=UTC)
Scores = npt.NDArray[np.float64]


@dataclass
class Outcome:
    """One policy on one seed: weekly scores and what they cost."""

    name: str
    seed: int
    auc: list[float] = field(default_factory=list)
    log_loss: list[float] = field(default_factory=list)
    trainings: int = 0
    promotions: int = 0
    cpu_s: float = 0.0

    def add(self, label: Scores, prediction: Scores) -> None:
        """Score one week."""
        self.auc.append(metric("auc", label, prediction))
        self.log_loss.append(metric("log_loss", label, prediction))


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--weeks", type=int, default=44)
    parser.add_argument("-v", action="store_true", help="show the decisions")
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--project", type=Path, default=FLIGHTS / "everloop.toml")
    options = parser.parse_args()
    prepare(FLIGHTS / "data")
    history(FLIGHTS / "data", date(2013, 3, 1))
    for seed in options.seeds:
        outcomes = list(_replay(options.project, seed, options.weeks))
        if not options.no_rivals:
            outcomes += _rivals(options.project, seed, options.weeks)
        for outcome in outcomes:
            print(_line(outcome, outcomes[0]), flush=True)


def _line(outcome: Outcome, frozen: Outcome) -> str:
    auc, loss = np.array(outcome.auc), np.array(outcome.log_loss)
    gain, less = auc - np.array(frozen.auc), loss - np.array(frozen.log_loss)
    return (
        f"seed {outcome.seed}  {outcome.name:22} auc {auc.mean():.4f}  log loss {loss.mean():.4f}  "
        f"d {gain.mean():+.4f} {less.mean():+.4f}  better {int((gain > 0).sum())} "
        f"{int((less < 0).sum())} of {len(gain)}  trainings {outcome.trainings}  "
        f"promotions {outcome.promotions}  cpu {outcome.cpu_s:.1f} s"
    )


def _open(project: Path, folder: Path, seed: int) -> Workspace:
    text = project.read_text().replace("[train]\n", f"[train]\nseed = {seed}\n", 1)
    (folder / "everloop.toml").write_text(text)
    (folder / "data").symlink_to(FLIGHTS / "data")
    return Workspace.open(folder)


def _stream(ws: Workspace) -> pl.DataFrame:
    """Return the flights after the history with what is known before departure, and `late`."""
    flights = pl.read_parquet(FLIGHTS / "data" / "flights.parquet").lazy()
    weather = ws.tables.table("clean/weather").scan()
    rows = join(flights.filter(pl.col("scheduled") >= START), ws.project, {"weather": weather})
    return rows.with_columns(late=pl.col("arr_delay") > 30).sort("scheduled").collect()


def _weeks(rows: pl.DataFrame, num_weeks: int) -> Iterator[tuple[datetime, pl.DataFrame]]:
    for number in range(num_weeks):
        start = START + number * WEEK
        at = pl.col("scheduled")
        yield start + WEEK, rows.filter((at >= start) & (at < start + WEEK))


def _replay(project: Path, seed: int, num_weeks: int) -> Iterator[Outcome]:
    """Everloop, and the first champion beside it."""
    frozen, live = Outcome("frozen", seed), Outcome("everloop", seed)
    folder = Path(tempfile.mkdtemp())
    try:
        ws = _open(project, folder, seed)
        run_turn(ws)
        first = ws.version_bundle(1)
        controller = Controller(ws)
        for end, rows in _weeks(_stream(ws), num_weeks):
            champion = ws.version_bundle(controller.state.champion or 1)
            said = score_frame(champion, rows).astype(np.float64)
            known = rows["late"].is_not_null()
            label = rows["late"].filter(known).cast(pl.Float64).to_numpy()
            live.add(label, said[known.to_numpy()])
            frozen.add(label, score_frame(first, rows.filter(known)).astype(np.float64))
            _log(ws, rows, said, controller.state.champion or 1, end)
            started = time.process_time()
            controller.handle(_observe(ws, controller))
            live.cpu_s += time.process_time() - started
        runs = ws.ledger.runs()
        live.trainings = sum(run.stage in ("train", "recalibrate") for run in runs) - 1
        live.promotions = len(ws.registry.moves()) - 1
        _tell_stages(runs)
        if VERBOSE:
            for line in decision_lines(ws):
                print("   ", line.time[:10], line.kind, line.version, "; ".join(line.reasons))
        yield frozen
        yield live
    finally:
        shutil.rmtree(folder)


def _tell_stages(runs: list[Run]) -> None:
    for stage in ("train", "compress", "recalibrate", "gate"):
        costs = [run.cpu_seconds for run in runs if run.stage == stage]
        print(f"    {stage}: {len(costs)} runs, {sum(costs):.1f} CPU s")


def _log(ws: Workspace, rows: pl.DataFrame, said: Scores, version: int, end: datetime) -> None:
    """Commit what a shipper would have: all predictions, and the labels known by the week's end."""
    ids = pl.format("{}/{}/{}", "scheduled", "carrier", "flight").alias("_prediction_id")
    names = [*(ws.project.train.features or ()), "scheduled"]
    served = rows.select(
        ids,
        pl.col("scheduled").alias("_received_at"),
        pl.col("scheduled").alias("_time"),
        pl.lit(version, pl.Int64).alias("_version"),
        pl.lit("bench").alias("_replica"),
        *(pl.col(n).cast(pl.Float64) if rows[n].dtype.is_numeric() else pl.col(n) for n in names),
        pl.Series("_prediction", said),
    )
    ws.tables.table(PREDICTIONS).append(served)
    labels = rows.filter(pl.col("late").is_not_null()).select(
        ids,
        pl.col("late").cast(pl.Int8).cast(pl.String).alias("_label"),
        (pl.col("scheduled") + timedelta(days=1)).alias("_received_at"),
    )
    held = getattr(_log, "held", labels.clear())
    ready = pl.concat([held, labels]) if held.height and end > START + WEEK else labels
    ws.tables.table(LABELS).append(ready.filter(pl.col("_received_at") <= end))
    _log.held = ready.filter(pl.col("_received_at") > end)  # type: ignore[attr-defined]


def _observe(ws: Workspace, controller: Controller) -> Observed:
    moment = controller.moment()
    state = controller.state
    looking = Looking(ws, moment["stream_time"])
    comparison = None
    if state.former is not None and state.promoted_at is not None:
        comparison = looking.comparison(state.champion or 1, state.former, state.promoted_at)
    number = num_labelled(ws, cut_now(ws))
    return Observed(**moment, num_labelled=number, comparison=comparison)


def _rivals(project: Path, seed: int, num_weeks: int) -> list[Outcome]:
    """Retrain on everything known, every four weeks and every week, with no gate."""
    folder = Path(tempfile.mkdtemp())
    try:
        ws = _open(project, folder, seed)
        run_turn(ws, to="validate")
        past = source_rows(ws, Cut(cut_now(ws).versions)).collect()
        stream = _stream(ws)
        features = ws.project.train.features or ()
        served = stream.filter(pl.col("late").is_not_null()).select(
            *(pl.col(n).cast(past[n].dtype) for n in features),
            pl.col("scheduled"),
            pl.col("late").alias("_label"),
        )
        every = pl.concat([past.select(served.columns), served])
        return [_calendar(ws, every, stream, seed, (weeks, num_weeks)) for weeks in (4, 1)]
    finally:
        shutil.rmtree(folder)


def _calendar(
    ws: Workspace, every: pl.DataFrame, stream: pl.DataFrame, seed: int, weeks: tuple[int, int]
) -> Outcome:
    outcome = Outcome(f"all rows every {weeks[0]} wk", seed)
    spec = ws.project.train.boosting
    params = {
        "objective": "binary", "learning_rate": spec.learning_rate, "num_leaves": spec.num_leaves,
        "min_data_in_leaf": spec.min_leaf_rows, "feature_fraction": spec.column_ratio,
        "lambda_l2": spec.l2, "max_bin": spec.max_bin, "extra_trees": spec.extra_trees,
        "seed": seed, "deterministic": True, "force_row_wise": True, "num_threads": 1,
        "verbosity": -1,
    }  # fmt: skip
    booster, columns = None, ()
    for number, (end, rows) in enumerate(_weeks(stream, weeks[1])):
        if number % weeks[0] == 0:
            started = time.process_time()
            known = every.filter(pl.col("scheduled") <= end - WEEK - timedelta(days=1))
            columns = fit_columns(known, ws.project.train.features or (), {}, "boosting")
            encoded = encode(known, columns)
            matrix = np.concatenate([encoded.numbers, encoded.codes.astype(np.float32)], axis=1)
            first_code = encoded.numbers.shape[1]
            data = lightgbm.Dataset(
                matrix,
                known["_label"].cast(pl.Float64).to_numpy(),
                categorical_feature=list(range(first_code, matrix.shape[1])),
                params=params,
            )
            booster = lightgbm.train(params, data, num_boost_round=spec.num_trees)
            outcome.cpu_s += time.process_time() - started
            outcome.trainings += 1
        known = rows.filter(pl.col("late").is_not_null())
        encoded = encode(known, columns)
        matrix = np.concatenate([encoded.numbers, encoded.codes.astype(np.float32)], axis=1)
        assert booster is not None
        outcome.add(known["late"].cast(pl.Float64).to_numpy(), np.asarray(booster.predict(matrix)))
    return outcome


if __name__ == "__main__":
    main()
