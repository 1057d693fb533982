"""A process killed at any moment; in the end each row of the source is in one place, once."""

import random
import subprocess
import sys
import threading
from pathlib import Path

import polars as pl

from everloop.spec.project import StoreSpec
from everloop.store.objects import Objects
from everloop.store.tables import Tables

TARGET = Path(__file__).with_name("kill_target.py")
NUM_FILES, FILE_ROWS, NUM_KILLS, BROKEN_ROW = 8, 700, 20, 4


def write_file(root: Path, number: int) -> None:
    lines = ["k,v"]
    for row in range(FILE_ROWS):
        key = number * FILE_ROWS + row
        value = {0: "-1", 1: "3", 2: "broken"}.get(key % 50, "1")
        lines.append(f"{key_of(key)},{value}")
    lines[BROKEN_ROW + 1] += ",too,many"
    (root / f"{number:03}.csv").write_text("\n".join(lines) + "\n")


def run(root: Path, kill_after_s: float | None) -> bool:
    """Run the target, killed so long after it has begun; tell whether it came to its end."""
    with subprocess.Popen(
        [sys.executable, str(TARGET), str(root)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        timer = None if kill_after_s is None else threading.Timer(kill_after_s, process.kill)
        if timer:
            timer.start()
        is_done = process.stdout.read().endswith("done\n")
        if timer:
            timer.cancel()
    return is_done


def test_kills_lose_no_row_and_double_none(tmp_path: Path) -> None:
    chance = random.Random(7)
    num_kills = number = 0
    while num_kills < NUM_KILLS:
        # New files come as long as there are kills left, so that each finds work to interrupt.
        for _ in range(NUM_FILES):
            write_file(tmp_path, number)
            number += 1
        while num_kills < NUM_KILLS and not run(tmp_path, chance.uniform(0.0, 0.5)):
            num_kills += 1
    assert run(tmp_path, None)
    spec = StoreSpec()
    tables = Tables(Objects.open(spec, tmp_path), spec)
    raw, good, bad = (
        tables.table(f"{kind}/main").scan().collect() for kind in ("raw", "clean", "quarantine")
    )
    raw = raw.with_columns(v=pl.col("v").cast(pl.Float64, strict=False))
    is_bad = pl.col("_malformed").is_not_null() | pl.col("v").is_null() | (pl.col("v") < 0)
    wanted = raw.filter(~is_bad, pl.col("v") != 3)
    assert raw.height == number * FILE_ROWS
    assert raw.select("_offset", "_row").is_unique().all()
    assert (
        bad.select("_offset", "_row")
        .sort("_offset", "_row")
        .equals(raw.filter(is_bad).select("_offset", "_row").sort("_offset", "_row"))
    )
    assert sorted(good["k"]) == sorted(set(wanted["k"]))
    assert sorted(raw["k"].drop_nulls()) == sorted(
        key_of(row) for row in range(raw.height) if row % FILE_ROWS != BROKEN_ROW
    )


def key_of(row: int) -> int:
    """Every tenth row repeats the key before it."""
    return row - (row % 10 == 9)
