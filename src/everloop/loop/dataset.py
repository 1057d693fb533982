"""The labelled rows of a project: from the source's clean tables, or from what was served.

Everything here is lazy and pinned to table versions, so that a resumed run sees the same rows.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import polars as pl

from everloop.loop.cut import Cut, Wanted
from everloop.loop.logged import read_label, read_logged
from everloop.loop.workspace import Workspace
from everloop.spec.errors import DataError
from everloop.spec.project import Project
from everloop.store.beside import names_of
from everloop.validate.join import join
from everloop.validate.label import check_label, label_expression

PREDICTIONS, LABELS, METRICS = "predictions", "labels", "metrics"
_UTC = pl.Datetime("us", "UTC")
_FAR_AHEAD = timedelta(days=366)


def cut_now(ws: Workspace, *, until: datetime | None = None, with_served: bool = False) -> Cut:
    """Pin every table that labelled rows come from at its newest version.

    Args:
        ws: The workspace.
        until: Only labels known by this moment.
        with_served: Pin what was served even where the model does not learn from it.
    """
    names = [f"clean/{source.name}" for source in ws.project.sources]
    if with_served or ws.project.train.rows == "feedback":
        names += [PREDICTIONS, LABELS]
    found = {name: ws.tables.table(name).version() for name in names}
    return Cut({name: version for name, version in found.items() if version >= 0}, until)


def features_of(project: Project, schema: Mapping[str, pl.DataType]) -> tuple[str, ...]:
    """Return the model's input columns.

    Raises:
        DataError: If the project names a column that the data lacks, or a time that is none.
    """
    _check_names(project, schema)
    if project.train.features is not None:
        return project.train.features
    left_out = {*project.main.key, project.main.time, *label_columns(project)}
    left_out |= set(project.train.exclude)
    return tuple(n for n in schema if n not in left_out and not n.startswith("_"))


def _check_names(project: Project, schema: Mapping[str, pl.DataType]) -> None:
    main = project.main
    for setting, names in (
        ("train.features", project.train.features),
        ("train.exclude", project.train.exclude),
        # The file may have changed since the rows were validated.
        (f"sources.{main.name}.key", main.key),
        (f"sources.{main.name}.time", (main.time,) if main.time else ()),
    ):
        missing = [name for name in names or () if name not in schema]
        if missing:
            raise DataError(
                f"{setting}: found {', '.join(map(repr, missing))}, which the data lacks; "
                f"it has {', '.join(n for n in schema if not n.startswith('_'))}"
            )
    if main.time and not schema[main.time].is_temporal():
        raise DataError(
            f"sources.{main.name}.time: found {main.time!r}, a column of {schema[main.time]}, "
            "expected one of dates or times"
        )


def label_columns(project: Project) -> tuple[str, ...]:
    """Return the columns that the label is made of; none of them may be a feature."""
    return tuple(label_expression(project).meta.root_names())


def labelled_rows(
    ws: Workspace, cut: Cut, wanted: Wanted | None = None, *, also: Iterable[str] = ()
) -> pl.LazyFrame:
    """Return the labelled rows of a cut: features, key, time and ``_label``.

    Args:
        ws: The workspace.
        cut: Which rows.
        wanted: Which of them are needed; all where it is None.
        also: More columns, such as an older model's; those that the data has are added.

    Raises:
        DataError: If there is no clean data yet, or a named column is missing.
    """
    wanted = wanted or Wanted()
    source = source_rows(ws, cut, also=also)
    schema = dict(source.collect_schema())
    name = ws.project.main.time
    if name is not None:
        source = source.filter(wanted.test(pl.col(name), [name, *ws.project.main.key]))
    if PREDICTIONS not in cut.versions or LABELS not in cut.versions:
        return source
    served = feedback_rows(ws, cut, schema, wanted).select(list(schema))
    if name is None:
        return pl.concat([source, served])
    history = source.collect()
    end = _end_of_history(ws, cut, schema, history[name].max())
    if end is not None:
        history = history.filter(pl.col(name) < end)
    return pl.concat([history.lazy(), served])


def _end_of_history(
    ws: Workspace, cut: Cut, schema: Mapping[str, pl.DataType], newest: object
) -> datetime | None:
    """Return the time of the first labelled row that was served, if the history reaches so far.

    What was asked without ever being labelled, such as a try with an old row, ends no history.
    """
    first = _scan(ws, PREDICTIONS, cut).select(pl.col("_time").min()).collect().item()
    if first is None or not isinstance(newest, datetime) or newest < first:
        return None
    time = pl.col(_time(ws.project)).min()
    labelled = feedback_rows(ws, cut, schema).select(time).collect().item()
    return labelled if isinstance(labelled, datetime) else None


def source_rows(
    ws: Workspace, cut: Cut, *, with_unlabelled: bool = False, also: Iterable[str] = ()
) -> pl.LazyFrame:
    """Return the source's clean rows, joined, with their label; ``also`` as in `labelled_rows`."""
    project = ws.project
    frames = {s.name: _scan(ws, f"clean/{s.name}", cut) for s in project.sources}
    joined = join(frames[project.main.name], project, frames)
    label = check_label(project, joined.collect_schema())
    frame = joined.with_columns(label.alias("_label"))
    if not with_unlabelled:
        frame = frame.filter(pl.col("_label").is_not_null())
    if cut.until is not None:
        frame = frame.filter(pl.col(_time(project)) <= _newest_known(project, cut.until))
    schema = frame.collect_schema()
    more = [name for name in also if name in schema and name not in label_columns(project)]
    wanted = dict.fromkeys([*_columns(project, features_of(project, schema)), *more])
    return frame.select(
        *(plain(pl.col(name), schema[name]) for name in wanted),
        plain(pl.col("_label"), schema["_label"]),
    )


def feedback_rows(
    ws: Workspace,
    cut: Cut,
    schema: Mapping[str, pl.DataType],
    wanted: Wanted | None = None,
) -> pl.LazyFrame:
    """Return logged rows whose label has come, with their id, version and what was answered.

    A request that was sent twice under one id counts once, as it was answered last; of labels, the
    last one counts. Where the project names no time column, ``_time`` says when it was answered.

    Args:
        ws: The workspace.
        cut: Which rows.
        schema: Of `source_rows`: logged columns and labels are read as these types; a column that
            was never logged is null.
        wanted: Which of them are needed; all where it is None.
    """
    project = ws.project
    served = _scan(ws, PREDICTIONS, cut).filter(has_time(ws, "_time"))
    logged = _scan(ws, LABELS, cut)
    if cut.until is not None:
        served = served.filter(pl.col("_time") <= _newest_known(project, cut.until))
    if wanted is not None and not wanted.is_all:
        served = served.filter(wanted.test(pl.col("_time"), ["_prediction_id"]))
        # A part of the rows: most labels need not be put in order.
        logged = logged.join(served.select("_prediction_id"), on="_prediction_id", how="semi")
    served = served.unique("_prediction_id", keep="last", maintain_order=True)
    labels = (
        logged.sort("_received_at", maintain_order=True)
        .unique("_prediction_id", keep="last", maintain_order=True)
        .select("_prediction_id", read_label(pl.col("_label"), schema["_label"]).alias("_label"))
    )
    time_name = project.main.time or "_time"
    have = served.collect_schema()
    columns = [
        read_logged(name, have, schema[name])
        for name in schema
        if name not in {"_label", time_name}
    ]
    time = pl.col("_time").alias(time_name)
    return (
        served.select("_prediction_id", "_version", *names_of("_prediction", have), time, *columns)
        # In the order of serving, so that the same rows always make the same model.
        .join(labels, on="_prediction_id", how="inner", maintain_order="left")
        .filter(pl.col("_label").is_not_null())
    )


def plain(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Bring a column to one of the few types that logged rows have too."""
    if dtype.is_numeric():
        return column.cast(pl.Float64)
    if dtype.is_temporal():
        return column.cast(pl.Datetime("us", "UTC"))
    if dtype == pl.Boolean:
        return column
    return column.cast(pl.String)


def stream_time(ws: Workspace) -> datetime | None:
    """Return the newest time of any row, served or of the source; None where rows have no time.

    Where the model learns from what was served, that alone counts once there is any.
    """
    names = (PREDICTIONS, f"clean/{ws.project.main.name}")
    found = {name: ws.tables.table(name).version() for name in names}
    return newest_time(ws, Cut({name: version for name, version in found.items() if version >= 0}))


def has_time(ws: Workspace, column: str) -> pl.Expr:
    """Tell whether a time tells anything: one more than a year ahead, as of 9999, means "never"."""
    return (pl.col(column) <= ws.clock.now() + _FAR_AHEAD).fill_null(value=False)


def newest_time(ws: Workspace, cut: Cut) -> datetime | None:
    """Return the stream time of a cut; None where its rows have no time."""
    main = ws.project.main
    if main.time is None:
        return None
    found = []
    for name, column in ((PREDICTIONS, "_time"), (f"clean/{main.name}", main.time)):
        if name in cut.versions:
            # A version never changes, and the loop asks several times for each decision.
            key = (name, cut.versions[name])
            if key not in ws.newest_times:
                times = _scan(ws, name, cut).select(pl.col(column).cast(_UTC))
                near = times.filter(has_time(ws, column))
                ws.newest_times[key] = near.max().collect().item()
            if (known := ws.newest_times[key]) is not None:
                found.append(known)
    # The history of a project that learns from what it served has ended; other sources go on.
    return max(found[:1] if ws.project.train.rows == "feedback" else found, default=None)


def _newest_known(project: Project, until: datetime) -> datetime:
    known_after: timedelta = project.label.known_after
    return until - known_after


def _scan(ws: Workspace, name: str, cut: Cut) -> pl.LazyFrame:
    if name not in cut.versions:
        raise DataError(f"table {name!r} is empty; run `everloop run --to validate` first")
    return ws.tables.table(name).scan(cut.versions[name])


def _columns(project: Project, features: tuple[str, ...]) -> tuple[str, ...]:
    extra = (*project.main.key, *((project.main.time,) if project.main.time else ()))
    return tuple(dict.fromkeys((*features, *extra)))


def _time(project: Project) -> str:
    if project.main.time is None:
        raise DataError(
            "sources[0].time: missing; rows from feedback and stream time need the column that "
            "says when a row happened"
        )
    return project.main.time
