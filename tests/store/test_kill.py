import random
import subprocess
import sys
import threading
from pathlib import Path

import polars as pl

from everloop.spec.project import StoreSpec
from everloop.store.objects import Objects
from everloop.store.table import Table
from everloop.store.tables import Tables

SCRIPT = Path(__file__).parent / "append_forever.py"
ROUNDS, ROWS, APPS = 10, 10, ("a", "b")


def test_rows_are_there_once_after_twenty_kills(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    spec = StoreSpec(url=str(tmp_path / "state"))
    reader = Tables(Objects.open(spec, tmp_path), spec).table("raw/main")
    for _ in range(ROUNDS):
        _start_and_kill(spec.url, chance)
        _check(reader)
        _check(Tables(Objects.open(spec, tmp_path), spec).table("raw/main"))
    assert min(reader.offset(app) for app in APPS) > 0


def _start_and_kill(store: str, chance: random.Random) -> None:
    writers = [
        subprocess.Popen([sys.executable, str(SCRIPT), store, app], stdout=subprocess.PIPE)
        for app in APPS
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
        for writer in writers:
            threading.Event().wait(chance.uniform(0.0, 0.15))
            assert writer.poll() is None, "the writer failed by itself"
            writer.kill()
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()


def _check(table: Table) -> None:
    frame = table.scan().collect()
    if frame.is_empty():
        return
    for app in APPS:
        found = frame.filter(pl.col("app") == app)["n"].to_list()
        assert found == list(range((table.offset(app) + 1) * ROWS))
