from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from everloop.loop.cut import Cut
from everloop.loop.dataset import (
    cut_now,
    feedback_rows,
    labelled_rows,
    source_rows,
    stream_time,
)
from everloop.loop.facts import num_labelled
from everloop.loop.logged import read_label
from everloop.spec.errors import DataError
from everloop.testing import make_rows
from tests.loop.conftest import Small

FEEDBACK = {"train": {"rows": "feedback"}}


@pytest.fixture
def served(tmp_path: Path) -> Small:
    """2,000 rows of history, and a champion that learns from what it is asked."""
    small = Small(tmp_path / "small", settings=FEEDBACK)
    small.run()
    return small


def rows_of(small: Small, **options: Any) -> pl.DataFrame:
    return labelled_rows(small.ws, cut_now(small.ws), **options).collect()


def test_history_comes_first_then_what_was_served_and_labelled(served: Small) -> None:
    rows = make_rows(100, first=2000)
    ids = served.serve(rows)
    served.label(ids[:60], rows["label"].to_list()[:60])
    found = rows_of(served)
    assert found["id"].to_list() == [f"r{n}" for n in range(2060)]
    assert found["_label"].to_list()[2000:] == rows["label"].to_list()[:60]
    assert found["size"].to_list()[2000:] == rows["size"].to_list()[:60]
    assert num_labelled(served.ws, cut_now(served.ws)) == 2060


def test_rows_that_both_the_source_and_the_server_bring_count_once(served: Small) -> None:
    served.serve_labelled(make_rows(50, first=1950))
    found = rows_of(served)
    assert found.height == 2000
    assert found["id"].n_unique() == 2000


def test_a_try_with_an_old_row_that_nobody_labels_ends_no_history(served: Small) -> None:
    served.serve(make_rows(1, first=3), ids=["a try"])
    served.serve_labelled(make_rows(10, first=2000))
    assert rows_of(served).height == 2010


def test_of_labels_posted_twice_the_last_one_counts(served: Small) -> None:
    ids = served.serve(make_rows(3, first=2000))
    served.label(ids, [True, True, True])
    served.label(ids[:1], [False])
    served.label([ids[1], ids[1]], [True, False])
    assert rows_of(served)["_label"].to_list()[2000:] == [False, False, True]


def test_a_request_sent_twice_under_one_id_counts_once(served: Small) -> None:
    rows = make_rows(3, first=2000)
    served.serve(rows)
    served.serve_labelled(rows)
    assert rows_of(served).height == 2003


def test_labels_of_unknown_predictions_and_unreadable_ones_are_left_out(served: Small) -> None:
    ids = served.serve(make_rows(3, first=2000))
    served.label([*ids, "nobody asked"], [True, "maybe", False, True])
    assert rows_of(served)["_label"].to_list()[2000:] == [True, False]


def test_a_cut_holds_the_rows_still(served: Small) -> None:
    served.serve_labelled(make_rows(5, first=2000))
    cut = cut_now(served.ws)
    before = labelled_rows(served.ws, cut).collect()
    served.serve_labelled(make_rows(5, first=2005))
    assert labelled_rows(served.reopen(), cut).collect().equals(before)
    assert rows_of(served).height == 2010


def test_only_what_was_known_by_a_moment_is_read_when_one_is_asked_for(tmp_path: Path) -> None:
    source = {"name": "main", "path": "rows/*.csv", "time": "at"}
    label = {"expression": "label", "known_after": "1d"}
    small = Small(tmp_path, settings={"sources": [source | {"label": label}]})
    small.run("validate")
    until = datetime(2024, 1, 3, tzinfo=UTC)
    newest = labelled_rows(small.ws, cut_now(small.ws, until=until)).select(pl.col("at").max())
    assert newest.collect().item() == datetime(2024, 1, 2, tzinfo=UTC)


def test_without_a_time_column_served_rows_follow_the_sources(tmp_path: Path) -> None:
    small = Small(tmp_path, time=None, settings=FEEDBACK)
    small.run()
    small.serve_labelled(make_rows(20, first=2000))
    found = rows_of(small)
    assert found["id"].to_list() == [f"r{n}" for n in range(2020)]
    assert "at" not in found.columns
    schema = dict(source_rows(small.ws, cut_now(small.ws)).collect_schema())
    assert feedback_rows(small.ws, cut_now(small.ws), schema).collect()["_time"].null_count() == 0


def test_columns_of_an_older_model_are_added_but_never_those_of_the_label(served: Small) -> None:
    found = rows_of(served, also=["at", "label", "gone", "id"])
    assert set(found.columns) == {"size", "weight", "colour", "id", "at", "_label"}


def test_truth_values_and_numbers_that_are_categories_are_read_back(tmp_path: Path) -> None:
    def more(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(is_new=pl.col("size") > 0, shop=pl.int_range(pl.len()) % 7)

    train = {"rows": "feedback", "features": ["size", "is_new", "shop"]}
    settings = {"train": train, "columns": {"shop": {"kind": "category"}}}
    small = Small(tmp_path, settings=settings)
    more(make_rows(2000)).write_csv(tmp_path / "rows" / "000000.csv")
    small.run()
    kinds = {c.name: c.kind for c in small.ws.version_bundle(1).manifest.columns}
    assert kinds == {"size": "number", "is_new": "category", "shop": "category"}
    rows = more(make_rows(20, first=2000))
    words = pl.col("is_new", "shop").cast(pl.String)
    small.serve_labelled(rows.with_columns(words))
    found = rows_of(small).tail(20)
    assert found["is_new"].cast(pl.Boolean).to_list() == rows["is_new"].to_list()
    assert found["shop"].cast(pl.Int64).to_list() == rows["shop"].to_list()


def test_rows_logged_before_a_column_changed_its_kind_are_read_as_the_new_one(
    served: Small,
) -> None:
    old = make_rows(20, first=2000).with_columns(pl.lit(3.0).alias("size"))
    served.serve_labelled(old)
    settings = FEEDBACK | {"columns": {"size": {"kind": "category"}}}
    other = Small(served.folder.parent / "other", settings=settings)
    other.run()
    kinds = {c.name: c.kind for c in other.ws.version_bundle(1).manifest.columns}
    assert kinds["size"] == "category"
    number = served.add_version(other)
    new = make_rows(10, first=2020).with_columns(pl.lit("large").alias("size"))
    served.serve_labelled(new, version=number)
    schema = dict(source_rows(other.ws, cut_now(other.ws)).collect_schema())
    assert schema["size"] == pl.String
    found = feedback_rows(served.ws, cut_now(served.ws), schema).collect()
    assert found["size"].to_list() == ["3"] * 20 + ["large"] * 10
    numbers = rows_of(served)["size"].tail(30).to_list()
    assert numbers == [3.0] * 20 + [None] * 10


def test_stream_time_goes_on_with_the_source_where_that_brings_the_labels(small: Small) -> None:
    small.run()
    small.serve(make_rows(1, first=5), ids=["a try"])
    assert stream_time(small.ws) == make_rows(2000)["at"].max()
    small.serve(make_rows(1, first=2100))
    assert stream_time(small.ws) == make_rows(2101)["at"].max()


def test_stream_time_is_the_servers_once_it_served(served: Small) -> None:
    assert stream_time(served.ws) == make_rows(2000)["at"].max()
    served.serve(make_rows(5, first=2000))
    assert stream_time(served.ws) == make_rows(2005)["at"].max()


def test_a_row_of_a_far_future_moves_no_stream_time_and_is_not_learned_from(served: Small) -> None:
    served.serve(make_rows(5, first=2000))
    never = pl.lit(datetime(9999, 12, 31, tzinfo=UTC)).cast(pl.Datetime("us", "UTC"))
    served.serve_labelled(make_rows(1, first=2010).with_columns(at=never))
    assert stream_time(served.ws) == make_rows(2005)["at"].max()
    assert rows_of(served).height == 2000


def test_a_missing_feature_is_named_with_those_there_are(tmp_path: Path) -> None:
    small = Small(tmp_path, settings={"train": {"features": ["size", "height"]}})
    with pytest.raises(DataError, match=r"train\.features: found 'height'.*it has id, at, size"):
        small.run()


def test_rows_are_asked_for_before_they_were_taken_in(small: Small) -> None:
    with pytest.raises(DataError, match="table 'clean/main' is empty"):
        labelled_rows(small.ws, Cut())


@pytest.mark.parametrize(
    ("dtype", "text", "expected"),
    [
        (pl.Boolean(), ["True", "0", "1.0", "no idea"], [True, False, True, None]),
        (pl.Float64(), ["1", " 2.5", "late", "true", "False"], [1.0, 2.5, None, 1.0, 0.0]),
        (pl.Float64(), ["inf", "-Infinity", "nan"], [None, None, None]),
        (pl.String(), ["late", "1"], ["late", "1"]),
    ],
)
def test_a_labels_text_is_read_as_the_sources_type(
    dtype: pl.DataType, text: list[str], expected: list[object]
) -> None:
    frame = pl.DataFrame({"text": text}).select(read_label(pl.col("text"), dtype))
    assert frame.to_series().to_list() == expected


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ({"key": ["idd"]}, r"sources\.main\.key: found 'idd', which the data lacks; it has id, at"),
        ({"time": "att"}, r"sources\.main\.time: found 'att', which the data lacks"),
        ({"time": "size"}, r"time: found 'size', a column of Float64, expected one of dates"),
    ],
)
def test_a_key_or_time_that_was_named_after_the_rows_came_is_checked(
    small: Small, setting: dict[str, Any], found: str
) -> None:
    small.run("validate")
    (main,) = small.ws.project.sources
    source = main.model_copy(update=setting)
    project = small.ws.project.model_copy(update={"sources": (source,)})
    small.ws = replace(small.ws, project=project)
    with pytest.raises(DataError, match=found):
        rows_of(small)
