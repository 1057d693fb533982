"""Does everloop beat the calendar? Replay March to December; rivals, seeds and all CPU counted.

The year runs through everloop's own controller: rows served in a week are logged with what the
champion of that moment said, their labels come a day later, and at each week's end the loop looks,
retrains, judges and promotes. Only the HTTP server is left out; the demo has that. The rivals use
the same rows, inputs and LightGBM settings: a frozen first champion, a retrain on everything every
four weeks, and one every week (the best that can be had, at full cost).

    python benchmarks/bench_flights_replay.py --seeds 0 1 2 --write
"""

import argparse
import platform
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

RESULTS = Path(__file__).parent / "results" / "flights_replay_2core_202611.md"
FLIGHTS = Path(__file__).parents[1] / "examples" / "flights"
sys.path.insert(0, str(FLIGHTS))

from prepare import history, prepare  # noqa: E402

from everloop.frameworks.scoring import score_frame  # noqa: E402
from everloop.loop.controller import Controller  # noqa: E402
from everloop.loop.dataset import LABELS, PREDICTIONS, cut_now, labelled_rows  # noqa: E402
from everloop.loop.events import Observed  # noqa: E402
from everloop.loop.facts import Looking, num_labelled  # noqa: E402
from everloop.loop.ledger import Run  # noqa: E402
from everloop.loop.trail import decision_lines  # noqa: E402
from everloop.loop.turn import run_turn  # noqa: E402
from everloop.loop.workspace import Workspace  # noqa: E402
from everloop.measure.metrics import metric  # noqa: E402
from everloop.rows.fit import fit_columns  # noqa: E402
from everloop.rows.vectorised import encode  # noqa: E402
from everloop.validate.join import join  # noqa: E402

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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--weeks", type=int, default=44)
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--project", type=Path, default=FLIGHTS / "everloop.toml")
    parser.add_argument("--verbose", action="store_true", help="show the decisions")
    parser.add_argument("--write", action="store_true", help="write the results file")
    options = parser.parse_args()
    prepare(FLIGHTS / "data")
    history(FLIGHTS / "data", date(2013, 3, 1))
    found = []
    for seed in options.seeds:
        replay = Replay(options.project, seed, with_rivals=not options.no_rivals)
        outcomes = replay.run(options.weeks, verbose=options.verbose)
        found += [(outcome, outcomes[0]) for outcome in outcomes]
        print("\n".join(_line(outcome, outcomes[0]) for outcome in outcomes), flush=True)
    if options.write:
        write_results(found, options.weeks)


def _line(outcome: Outcome, frozen: Outcome) -> str:
    auc, loss = np.array(outcome.auc), np.array(outcome.log_loss)
    gain, less = auc - np.array(frozen.auc), loss - np.array(frozen.log_loss)
    return (
        f"| {outcome.seed} | {outcome.name} | {auc.mean():.4f} | {loss.mean():.4f} | "
        f"{gain.mean():+.4f} | {less.mean():+.4f} | {int((gain > 0).sum())} / "
        f"{int((less < 0).sum())} | {outcome.trainings} | {outcome.cpu_s:.1f} |"
    )


HEAD = (
    "| seed | policy | AUC | log loss | AUC less frozen | log loss less frozen | "
    "weeks better (AUC / log loss) | trainings | CPU s |\n|---|---|---|---|---|---|---|---|---|"
)


def write_results(found: list[tuple[Outcome, Outcome]], num_weeks: int) -> None:
    """Write the results file: each seed, and the mean over seeds."""
    lines = [_line(outcome, frozen) for outcome, frozen in found]
    names = list(dict.fromkeys(outcome.name for outcome, _ in found))
    means = [_mean_line(name, found) for name in names]
    text = f"""# Does everloop beat the calendar on a year of flights?

`python benchmarks/bench_flights_replay.py --seeds 0 1 2 --write`, {datetime.now(tz=UTC):%d %B %Y},
{platform.machine()}, 2 cores, one thread, Python {platform.python_version()},
lightgbm {lightgbm.__version__}, polars {pl.__version__}. {num_weeks} weeks from 1 March 2013;
scores are means over weeks.

Everloop's CPU is all that its controller spent: looking, reading rows, every training, failed and
held challengers, recalibrations, export, gate. A rival's is reading the same rows from the same
store, encoding and LightGBM, and nothing else; it has no gate and keeps no rows back.

## Mean over seeds

{HEAD}
{chr(10).join(means)}

{verdict(found)}

## Each seed

{HEAD}
{chr(10).join(lines)}
"""
    RESULTS.write_text(text)
    print(text)


def verdict(found: list[tuple[Outcome, Outcome]]) -> str:
    """Say in words what the means over seeds say."""
    mean = {name: _mean(name, found) for name in dict.fromkeys(o.name for o, _ in found)}
    frozen, live, weekly = (mean.get(n) for n in ("frozen", "everloop", "all rows, every 1 wk"))
    if frozen is None or live is None or weekly is None:
        return ""
    gains = [_differences(policy, frozen) for policy in (live, weekly)]
    shares = [mine / best for mine, best in zip(*gains, strict=True)]
    lines = [
        f"Everloop has {shares[0]:.2f} of the weekly retrain's gain in AUC and {shares[1]:.2f} of",
        f"its gain in log loss, at {live.cpu_s / weekly.cpu_s:.2f} of its CPU.",
        "",
        "Everloop against the calendars:",
        "",
    ]
    for name, rival in mean.items():
        if name not in (frozen.name, live.name):
            auc, loss = _differences(live, rival)
            cost = live.cpu_s / rival.cpu_s
            lines.append(
                f"- {name}: AUC {auc:+.4f}, log loss {loss:+.4f}, at {cost:.2f} of its CPU"
            )
    return "\n".join(lines)


def _differences(one: Outcome, other: Outcome) -> tuple[float, float]:
    return (
        float(np.mean(one.auc) - np.mean(other.auc)),
        float(np.mean(one.log_loss) - np.mean(other.log_loss)),
    )


def _mean(name: str, found: list[tuple[Outcome, Outcome]]) -> Outcome:
    mine = [outcome for outcome, _ in found if outcome.name == name]
    auc, loss = ([getattr(o, n) for o in mine] for n in ("auc", "log_loss"))
    return Outcome(
        name,
        len(mine),
        list(np.mean(auc, axis=0)),
        list(np.mean(loss, axis=0)),
        round(np.mean([o.trainings for o in mine])),
        cpu_s=float(np.mean([o.cpu_s for o in mine])),
    )


def _mean_line(name: str, found: list[tuple[Outcome, Outcome]]) -> str:
    mean = _mean(name, found)
    return _line(mean, _mean("frozen", found)).replace(f"| {mean.seed} |", "| mean |", 1)


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


class Rival:
    """LightGBM on every row known, every so many weeks: no gate, no rows kept back, no export."""

    def __init__(self, ws: Workspace, every: int) -> None:
        self.outcome = Outcome(f"all rows, every {every} wk", ws.project.train.seed)
        self._ws, self._every = ws, every

    def train(self, number: int) -> None:
        """Retrain if the calendar says so."""
        if number % self._every:
            return
        started = time.process_time()
        rows = labelled_rows(self._ws, cut_now(self._ws)).collect()
        self._columns = fit_columns(rows, self._ws.project.train.features or (), {}, "boosting")
        matrix, first_code = self._matrix(rows)
        data = lightgbm.Dataset(
            matrix,
            rows["_label"].cast(pl.Float64).to_numpy(),
            categorical_feature=list(range(first_code, matrix.shape[1])),
            params=self._params(),
        )
        self._booster = lightgbm.train(
            self._params(), data, num_boost_round=self._ws.project.train.boosting.num_trees
        )
        self.outcome.cpu_s += time.process_time() - started
        self.outcome.trainings += 1

    def score(self, rows: pl.DataFrame, label: Scores) -> None:
        """Score a week's labelled rows."""
        self.outcome.add(label, np.asarray(self._booster.predict(self._matrix(rows)[0])))

    def _matrix(self, rows: pl.DataFrame) -> tuple[npt.NDArray[np.float32], int]:
        found = encode(rows, self._columns)
        codes = found.codes.astype(np.float32)
        return np.concatenate([found.numbers, codes], axis=1), found.numbers.shape[1]

    def _params(self) -> dict[str, object]:
        spec = self._ws.project.train.boosting
        return {
            "objective": "binary", "learning_rate": spec.learning_rate, "verbosity": -1,
            "num_leaves": spec.num_leaves, "min_data_in_leaf": spec.min_leaf_rows,
            "feature_fraction": spec.column_ratio, "lambda_l2": spec.l2, "max_bin": spec.max_bin,
            "extra_trees": spec.extra_trees, "seed": self._ws.project.train.seed,
            "deterministic": True, "force_row_wise": True, "num_threads": 1,
        }  # fmt: skip


class Replay:
    """One seed: everloop, its first champion kept as it was, and the calendars, on one stream."""

    def __init__(self, project: Path, seed: int, *, with_rivals: bool) -> None:
        self._folder = Path(tempfile.mkdtemp())
        self._ws = _open(project, self._folder, seed)
        self._frozen, self._live = Outcome("frozen", seed), Outcome("everloop", seed)
        self._rivals = [Rival(self._ws, every) for every in ((4, 2, 1) if with_rivals else ())]
        self._held = pl.DataFrame()

    def run(self, num_weeks: int, *, verbose: bool) -> list[Outcome]:
        """Replay the weeks; return outcomes, the frozen one first."""
        try:
            run_turn(self._ws)
            controller = Controller(self._ws)
            for number, (end, rows) in enumerate(_weeks(_stream(self._ws), num_weeks)):
                self._week(number, end, rows, controller)
            runs = self._ws.ledger.runs()
            self._live.trainings = sum(run.stage in ("train", "recalibrate") for run in runs) - 1
            if verbose:
                _tell(self._ws, runs)
            return [self._frozen, self._live, *(rival.outcome for rival in self._rivals)]
        finally:
            shutil.rmtree(self._folder)

    def _week(self, number: int, end: datetime, rows: pl.DataFrame, controller: Controller) -> None:
        champion = controller.state.champion or 1
        said = score_frame(self._ws.version_bundle(champion), rows).astype(np.float64)
        known = rows["late"].is_not_null()
        labelled = rows.filter(known)
        label = labelled["late"].cast(pl.Float64).to_numpy()
        first = score_frame(self._ws.version_bundle(1), labelled).astype(np.float64)
        self._live.add(label, said[known.to_numpy()])
        self._frozen.add(label, first)
        for rival in self._rivals:
            rival.train(number)
            rival.score(labelled, label)
        self._log(rows, said, champion, end)
        started = time.process_time()
        controller.handle(_observe(self._ws, controller))
        self._live.cpu_s += time.process_time() - started

    def _log(self, rows: pl.DataFrame, said: Scores, version: int, end: datetime) -> None:
        """Commit what a shipper would have: predictions, and the labels known by the week's end."""
        ids = pl.format("{}/{}/{}", "scheduled", "carrier", "flight").alias("_prediction_id")
        names = [*(self._ws.project.train.features or ()), "scheduled"]
        served = rows.select(
            ids,
            pl.col("scheduled").alias("_received_at"),
            pl.col("scheduled").alias("_time"),
            pl.lit(version, pl.Int64).alias("_version"),
            pl.lit("bench").alias("_replica"),
            *(
                pl.col(n).cast(pl.Float64) if rows[n].dtype.is_numeric() else pl.col(n)
                for n in names
            ),
            pl.Series("_prediction", said),
        )
        self._ws.tables.table(PREDICTIONS).append(served)
        labels = rows.filter(pl.col("late").is_not_null()).select(
            ids,
            pl.col("late").cast(pl.String).alias("_label"),
            (pl.col("scheduled") + timedelta(days=1)).alias("_received_at"),
        )
        ready = pl.concat([self._held, labels]) if self._held.height else labels
        self._ws.tables.table(LABELS).append(ready.filter(pl.col("_received_at") <= end))
        self._held = ready.filter(pl.col("_received_at") > end)


def _tell(ws: Workspace, runs: list[Run]) -> None:
    for stage in ("train", "compress", "recalibrate", "gate"):
        costs = [run.cpu_seconds for run in runs if run.stage == stage]
        print(f"    {stage}: {len(costs)} runs, {sum(costs):.1f} CPU s")
    for line in decision_lines(ws):
        print("   ", line.time[:10], line.kind, line.version, "; ".join(line.reasons))


def _observe(ws: Workspace, controller: Controller) -> Observed:
    moment = controller.moment()
    state = controller.state
    looking = Looking(ws, moment["stream_time"])
    comparison = None
    if state.former is not None and state.promoted_at is not None:
        comparison = looking.comparison(state.champion or 1, state.former, state.promoted_at)
    number = num_labelled(ws, cut_now(ws))
    return Observed(**moment, num_labelled=number, comparison=comparison)


if __name__ == "__main__":
    main()
