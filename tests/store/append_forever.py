"""Appends to a table until it is killed: ``append_forever.py STORE APP``."""

import sys
from pathlib import Path

import polars as pl

from everloop.spec.project import StoreSpec
from everloop.store.objects import Objects
from everloop.store.tables import Tables

ROWS = 10


def append_forever(store: str, app: str) -> None:
    spec = StoreSpec(url=store)
    table = Tables(Objects.open(spec, Path()), spec).table("raw/main")
    print("ready", flush=True)
    while True:
        offset = table.offset(app) + 1
        rows = range(offset * ROWS, (offset + 1) * ROWS)
        table.append(pl.DataFrame({"app": app, "n": rows}), app=app, offset=offset)
        if offset % 10 == 0:
            table.compact()


if __name__ == "__main__":
    append_forever(sys.argv[1], sys.argv[2])
