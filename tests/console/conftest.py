"""Made-up but lifelike data for pages, and a browser to look at them with."""

import math
import random
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from everloop.console.records import (
    Champion,
    ColumnDrift,
    DecisionLine,
    DriftCell,
    LiveWindow,
    QuarantineCount,
    ReportData,
    StatusData,
    VersionLine,
    WeekScore,
)

_FIRST = date(2013, 3, 1)
_COLUMNS = (
    *("temp", "dewp", "hour", "pressure", "wind_dir", "humid", "dest", "carrier", "distance"),
    *("visib", "wind_speed", "precip", "origin", "weekday", "sched_arr_time"),
)


def _week(i: int, rng: random.Random) -> WeekScore:
    summer = math.exp(-(((i - 18) / 8) ** 2))
    share = 0.14 + 0.11 * summer + rng.uniform(-0.04, 0.04)
    frozen = 0.705 - 0.02 * summer + rng.uniform(-0.03, 0.03)
    gain = 0.012 + 0.05 * summer + rng.uniform(-0.01, 0.01)
    loss = 0.25 + share + rng.uniform(-0.01, 0.01)
    return WeekScore(
        start=_FIRST + timedelta(weeks=i),
        rows=6100 + rng.randrange(400),
        label_rate=share,
        auc_frozen=frozen,
        auc_everloop=frozen + gain,
        logloss_frozen=loss,
        logloss_everloop=loss - gain * 0.7,
    )


def _decisions() -> list[DecisionLine]:
    lines: list[DecisionLine] = []
    for i in range(11):
        time = datetime(2013, 3, 29, 4, tzinfo=UTC) + timedelta(weeks=4 * i - (i > 5))
        lines.append(
            DecisionLine(
                time=time.isoformat(),
                kind="retrain",
                version=i + 2,
                reasons=("28 days since the last training reached retrain.every 28d",),
            )
        )
        kind = "hold" if i in {3, 8} else "promote"
        why = (
            f"gain -0.0{i}12 [-0.0151, +0.0008] is under gate.min_gain +0.0000"
            if kind == "hold"
            else f"gain +0.00{i + 10} [+0.0021, +0.0143] reaches gate.min_gain +0.0000"
        )
        lines.append(DecisionLine(time=time.isoformat(), kind=kind, version=i + 2, reasons=(why,)))
        if i == 6:
            later = (time + timedelta(days=9)).isoformat()
            lines.append(
                DecisionLine(
                    time=later,
                    kind="roll_back",
                    version=i + 1,
                    reasons=(
                        "version 8 is worse than version 7 on the same 8,412 rows",
                        "gain -0.0204 [-0.0263, -0.0144] at retrain.rollback_confidence 0.99",
                    ),
                )
            )
    return lines


def _versions() -> list[VersionLine]:
    return [
        VersionLine(
            number=i + 1,
            created_at=f"2026-05-04T10:{i * 2:02}:11+00:00",
            trained_through=(
                datetime(2013, 2, 28, tzinfo=UTC) + timedelta(weeks=4 * i)
            ).isoformat(),
            family="boosting",
            size_kb=182.0 + 9 * i,
            gate_metric=None if i == 0 else 0.38 + 0.003 * i,
            note={0: "first", 7: "undone", 11: "champion"}.get(i, ""),
        )
        for i in range(12)
    ]


@pytest.fixture(scope="session")
def report_data() -> ReportData:
    rng = random.Random(7)
    weeks = tuple(_week(i, rng) for i in range(44))
    drift = tuple(
        DriftCell(
            start=week.start,
            column=column,
            psi=abs(math.sin(i / 9)) * 2.2 / (1 + j) ** 1.1 * rng.uniform(0.6, 1.3) + 0.004,
        )
        for i, week in enumerate(weeks)
        for j, column in enumerate(_COLUMNS)
    )
    return ReportData(
        title="A year of flights, replayed",
        subtitle="Will a flight out of New York arrive more than 30 minutes late? Trained on "
        "January and February 2013, then left alone with the rest of the year.",
        weeks=weeks,
        drift=drift,
        decisions=tuple(_decisions()),
        versions=tuple(_versions()),
        stage_seconds={"train": 24.2, "validate": 9.1, "ingest": 6.4, "gate": 3.8, "compress": 2.2},
        requests=28_211,
        requests_failed=0,
        p50_ms=0.82,
        p99_ms=3.14,
        seconds=96.4,
        positive="late",
        gate_metric="log loss",
    )


@pytest.fixture(scope="session")
def status_data() -> StatusData:
    rng = random.Random(3)
    versions = tuple(_versions())
    windows = tuple(
        LiveWindow(
            start=(datetime(2013, 11, 1, tzinfo=UTC) + timedelta(days=i)).isoformat(),
            end=(datetime(2013, 11, 8, tzinfo=UTC) + timedelta(days=i)).isoformat(),
            rows=6200 + rng.randrange(300),
            values={"auc": 0.73 + rng.uniform(-0.02, 0.02), "log_loss": 0.3 + i * 0.002},
        )
        for i in range(21)
    )
    drift = {
        "temp": 1.31,
        "dewp": 0.94,
        "pressure": 0.31,
        "hour": 0.09,
        "carrier": 0.04,
        "dest": 0.02,
    }
    return StatusData(
        project="flights",
        store="/srv/flights/.everloop",
        as_of="2026-05-04T10:24:31+00:00",
        stream_time="2013-11-29T03:59:00+00:00",
        aliases={"champion": 12, "previous": 10},
        champion=Champion(
            version=versions[-1],
            metrics={"tune.log_loss": 0.3312, "tune.auc": 0.7391, "gate.log_loss": 0.3371},
        ),
        windows=windows,
        drift=tuple(ColumnDrift(column=column, psi=psi) for column, psi in drift.items()),
        decisions=tuple(_decisions()),
        versions=versions,
        quarantine=(
            QuarantineCount(source="weather", rule="wind_is_possible", rows=1),
            QuarantineCount(source="flights", rule="key.unique", rows=14),
        ),
        clean_rows={"flights": 306_211, "weather": 23_880},
    )


Screenshot = Callable[[str], tuple[Path, str]]


@pytest.fixture
def screenshot(tmp_path: Path, program: Callable[..., str]) -> Screenshot:
    """Open an address in a browser without a window; gives the picture and what it logged."""
    browser = program("chromium", "google-chrome")

    def take(url: str) -> tuple[Path, str]:
        picture = tmp_path / "picture.png"
        quiet = ("background-networking", "component-update", "sync", "gpu", "extensions")
        done = subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--no-first-run", "--hide-scrollbars"),
                *(f"--disable-{what}" for what in quiet),
                *("--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}"),
                *("--window-size=1180,2600", f"--screenshot={picture}", url),
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return picture, done.stderr

    return take
