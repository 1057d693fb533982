"""Batch scoring: a file of rows in, the same rows with their predictions out."""

import os
from pathlib import Path

import polars as pl

from everloop.frameworks.scoring import score_frame
from everloop.loop.workspace import Workspace
from everloop.spec.errors import DataError
from everloop.spec.manifest import Manifest

_ENDINGS = (".parquet", ".csv", ".jsonl")


def score_file(ws: Workspace, source: Path, target: Path, version: int | None) -> tuple[int, int]:
    """Score a file; the target appears whole or not at all.

    Returns:
        Rows scored, and the version that scored them.

    Raises:
        DataError: If there is no such version, or the file cannot be read or lacks a column.
    """
    number = version or ws.registry.aliases().get("champion")
    if number is None:
        raise DataError("there is no champion yet; run `everloop run` first")
    bundle = ws.version_bundle(number)
    if not target.parent.is_dir():
        raise DataError(f"{target}: there is no folder {target.parent}; make it first")
    frame = _read(source, bundle.manifest)
    scores = score_frame(bundle, frame, threads=ws.project.train.threads)
    name, classes = bundle.manifest.outputs[0].name, bundle.manifest.classes
    if scores.ndim > 1 and target.suffix == ".csv":  # a cell of CSV holds one number
        parts = [pl.Series(f"{name}.{one}", scores[:, i]) for i, one in enumerate(classes)]
    else:
        parts = [pl.Series(name, scores)]
    _write(frame.with_columns(parts), target)
    return frame.height, number


def _read(source: Path, manifest: Manifest) -> pl.DataFrame:
    try:
        if source.suffix == ".parquet":
            return pl.read_parquet(source)
        if source.suffix == ".csv":
            return pl.read_csv(
                source, infer_schema_length=None, schema_overrides=_text_columns(source, manifest)
            )
        if source.suffix == ".jsonl":
            return pl.read_ndjson(source, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{source}: cannot be read: {str(error).splitlines()[0]}") from None
    raise DataError(f"{source}: found {source.suffix!r}, expected one of {', '.join(_ENDINGS)}")


def _text_columns(source: Path, manifest: Manifest) -> dict[str, type[pl.String]]:
    """Name the columns that the model takes as text, even where all values look like numbers."""
    names = pl.read_csv(source, n_rows=0).columns
    inputs = {tensor.name for tensor in manifest.inputs if tensor.datatype == "BYTES"}
    return {name: pl.String for name in names if name in inputs}


def _write(frame: pl.DataFrame, target: Path) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        if target.suffix == ".parquet":
            frame.write_parquet(part)
        elif target.suffix == ".csv":
            frame.write_csv(part)
        elif target.suffix == ".jsonl":
            frame.write_ndjson(part)
        else:
            raise DataError(f"{target}: found {target.suffix!r}, expected .parquet, .csv or .jsonl")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
