"""What does the way from a file to a clean table cost, over a plain Polars script?

    python benchmarks/bench_ingest_to_clean.py --rows 1000000 --repeats 5

The plain script reads the file, keeps the good rows and writes them to one Parquet file (lz4, as a
table's files are). everloop writes a raw Delta table with offsets, checks every file's sha256, and
sorts the rows into a clean table and a quarantine. Each runs in a process of its own, by turns; CPU
seconds are of the process and cover its imports, and the rows kept must be equal.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

NUM_FLOATS, NUM_INTS, NUM_TEXTS = 12, 4, 3
SIDES = ("plain", "everloop")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--format", choices=("parquet", "csv", "both"), default="both")
    parser.add_argument("--side", choices=(*SIDES, "imports"), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        run_side(args.side, args.file)
        return
    formats = ("parquet", "csv") if args.format == "both" else (args.format,)
    for kind in formats:
        compare(kind, args.rows, args.repeats)


def compare(kind: str, num_rows: int, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"rows.{kind}"
        frame = make_rows(num_rows)
        frame.write_parquet(file) if kind == "parquet" else frame.write_csv(file)
        print(f"{kind}: {num_rows} rows, {file.stat().st_size / 1e6:.0f} MB", flush=True)
        found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        for _ in range(repeats):
            for side in SIDES:
                found[side].append(measure(side, file))
        kept = {side: {run["kept"] for run in runs} for side, runs in found.items()}
        digests = {run["digest"] for runs in found.values() for run in runs}
        assert len(digests) == 1, f"the outputs differ: {kept}"
        report(found)


def report(found: dict[str, list[dict[str, float]]]) -> None:
    for side, runs in found.items():
        cpu = [run["cpu_s"] for run in runs]
        print(
            f"  {side:9} CPU s median {statistics.median(cpu):.2f} "
            f"({min(cpu):.2f} to {max(cpu):.2f}), "
            f"wall s {statistics.median(run['wall_s'] for run in runs):.2f}, "
            f"peak MiB {max(run['peak_mib'] for run in runs):.0f}, kept {runs[0]['kept']:.0f}"
        )
    ratios = [b["cpu_s"] / a["cpu_s"] for a, b in zip(*found.values(), strict=True)]
    print(
        f"  ratio of CPU seconds: median {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )


def measure(side: str, file: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--side", side, "--file", str(file)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run_side(side: str, file: Path) -> None:
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        out = run_plain(file, Path(folder)) if side == "plain" else run_everloop(file, Path(folder))
        wall_s = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_SELF)
        rows = out.select(pl.exclude("_source", "_offset", "_row")).sort("id")
        digest = rows.select(pl.struct(pl.all()).hash(1).reverse().hash(2).sum()).collect().item()
        kept = rows.select(pl.len()).collect().item()
    peak = used.ru_maxrss / 1024
    cpu = used.ru_utime + used.ru_stime
    print(
        json.dumps(
            {"cpu_s": cpu, "wall_s": wall_s, "peak_mib": peak, "kept": kept, "digest": digest}
        )
    )


def run_plain(file: Path, folder: Path) -> pl.LazyFrame:
    nulls = ["", "NA", "NaN", "null", "None"]
    frame = (
        pl.scan_parquet(file)
        if file.suffix == ".parquet"
        else pl.scan_csv(file, null_values=nulls, try_parse_dates=True)
    )
    bad = pl.col("id").is_duplicated() | pl.col("time").is_null()
    for i in range(NUM_FLOATS):
        bad |= ((pl.col(f"f{i}") < -50) | (pl.col(f"f{i}") > 50)).fill_null(value=False)
    for i in range(1, NUM_INTS):
        bad |= pl.col(f"i{i}").is_null()
    for i in range(NUM_TEXTS):
        bad |= (~pl.col(f"c{i}").is_in(["red", "green", "blue"])).fill_null(value=False)
    frame.filter(~bad).sink_parquet(folder / "clean.parquet", compression="lz4")
    return pl.scan_parquet(folder / "clean.parquet")


def run_everloop(file: Path, folder: Path) -> pl.LazyFrame:
    from everloop.ingest import ingest
    from everloop.spec.project import Project
    from everloop.store.objects import Objects
    from everloop.store.tables import Tables
    from everloop.validate import clean

    columns: dict[str, object] = {"id": {"unique": True}}
    columns |= {f"f{i}": {"min": -50, "max": 50} for i in range(NUM_FLOATS)}
    columns |= {f"i{i}": {"required": True} for i in range(1, NUM_INTS)}
    columns |= {f"c{i}": {"values": ["red", "green", "blue"]} for i in range(NUM_TEXTS)}
    source = {"path": str(file), "time": "time", "label": "f0 > 0"}
    project = Project.model_validate(
        {"project": {"name": "bench"}, "sources": [source], "columns": columns}
    )
    objects = Objects.open(project.store, folder)
    tables = Tables(objects, project.store)
    raw, good, bad = (tables.table(f"{kind}/main") for kind in ("raw", "clean", "quarantine"))
    ingest(project.main, raw, objects, folder)
    clean(project.main, project, raw, good, bad)
    return good.scan()


def make_rows(num_rows: int) -> pl.DataFrame:
    """20 columns; 1 % of the rows are spoilt in one way or another."""
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {"id": np.arange(num_rows)}
        | {f"f{i}": random.normal(size=num_rows) for i in range(NUM_FLOATS)}
        | {f"i{i}": random.integers(0, 10_000, num_rows) for i in range(1, NUM_INTS)}
        | {f"c{i}": random.choice(["red", "green", "blue"], num_rows) for i in range(NUM_TEXTS)}
    ).with_columns(
        time=pl.datetime(2026, 1, 1, time_zone="UTC") + pl.duration(seconds=pl.int_range(num_rows))
    )
    spoilt = {
        name: pl.Series(random.random(num_rows) < 0.0025) for name in ("id", "f0", "i1", "c0")
    }
    return frame.with_columns(
        id=pl.when(spoilt["id"]).then(0).otherwise("id"),
        f0=pl.when(spoilt["f0"]).then(999.0).otherwise("f0"),
        i1=pl.when(spoilt["i1"]).then(None).otherwise("i1"),
        c0=pl.when(spoilt["c0"]).then(pl.lit("puce")).otherwise("c0"),
    )


if __name__ == "__main__":
    main()
