"""Rules, filters and keys; what becomes of each row."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everloop.spec.errors import DataError, ProjectError


def rule(expression: str) -> dict[str, str]:
    return {"name": "r", "expression": expression}


@pytest.mark.parametrize(
    ("spec", "values", "kept", "set_aside"),
    [
        ({"required": True}, [1, None], [1], [("a.required", None)]),
        ({"min": 0, "max": 5}, [-1, 0, 5, 6], [0, 5], [("a.min", "-1"), ("a.max", "6")]),
        ({"values": ["x", "y"]}, ["x", "z", None], ["x", None], [("a.values", "z")]),
        ({"values": [1, 2]}, [1, 2, 3], [1, 2], [("a.values", "3")]),
        ({"pattern": "[a-z]+|-"}, ["ab", "-", "a-"], ["ab", "-"], [("a.pattern", "a-")]),
        ({"unique": True}, [1, 2, 1, None, None], [2, None, None], [("a.unique", "1")] * 2),
        ({"kind": "number"}, ["1", " 2.5", "two", None], [1.0, 2.5, None], [("a.kind", "two")]),
        ({"kind": "category"}, [1, 2], ["1", "2"], []),
        ({"kind": "category"}, [1.0, 2.5, None], ["1", "2.5", None], []),
        ({"unique": True}, [1.0, float("nan"), float("nan")], [1.0, None, None], []),
        ({"kind": "number", "min": 2}, ["1", "2"], [2.0], [("a.min", "1.0")]),
        ({"required": True}, [0.5, float("nan")], [0.5], [("a.required", None)]),
    ],
)  # fmt: skip
def test_a_row_that_breaks_a_column_rule_is_set_aside_with_its_value(
    make_mill: Any, spec: dict[str, Any], values: list[Any], kept: list[Any], set_aside: Any
) -> None:
    mill = make_mill(columns={"a": spec})
    report = mill.clean({"a": values})
    assert mill.kept() == kept
    assert mill.set_aside() == set_aside
    assert report.num_rows == len(values) == report.kept + sum(report.quarantined.values())


def test_text_is_read_as_time_and_a_row_without_its_time_is_set_aside(make_mill: Any) -> None:
    mill = make_mill(source={"time": "t"})
    mill.clean({"a": [1, 2, 3], "t": ["2026-01-01T00:00:00Z", "never", None]})
    assert mill.set_aside() == [("t.kind", "never"), ("t.required", None)]
    assert mill.clean_.scan().collect_schema()["t"] == pl.Datetime("us", "UTC")


def test_a_time_that_does_not_begin_with_its_year_is_set_aside(make_mill: Any) -> None:
    mill = make_mill(source={"time": "t"})
    mill.clean({"a": [1, 2, 3], "t": ["2026-01-02", "02/01/2026", "2026/01/03"]})
    assert mill.kept() == [1, 3]
    assert mill.set_aside() == [("t.kind", "02/01/2026")]


def test_a_row_is_quarantined_as_it_was(make_mill: Any) -> None:
    mill = make_mill(columns={"a": {"kind": "number"}})
    mill.clean({"a": ["1", "x"], "b": [1.5, 2.5]})
    row = mill.quarantine.scan().drop("_source", "_offset").collect().row(0, named=True)
    assert row == {"a": "x", "b": 2.5, "_row": 1, "_rule": "a.kind", "_value": "x"}


def test_own_rules_count_null_as_broken_and_show_what_was_found(make_mill: Any) -> None:
    mill = make_mill(rules=[{"name": "order", "expression": "a < b"}])
    mill.clean({"a": [1, 3, None], "b": [2, 2, 2]})
    assert mill.set_aside() == [("order", '{"a":3,"b":2}'), ("order", '{"a":null,"b":2}')]


def test_malformed_rows_are_set_aside_with_their_text(make_mill: Any) -> None:
    mill = make_mill(columns={"a": {"required": True}})
    mill.clean({"a": [1, None]}, {"a": [None, 2], "_malformed": ["1,2,3", None]})
    assert mill.set_aside() == [("a.required", None), ("malformed", "1,2,3")]
    assert "_malformed" not in mill.clean_.scan().collect_schema()


def test_unwanted_rows_are_counted_and_not_set_aside(make_mill: Any) -> None:
    mill = make_mill(filter={"keep": "a > 1"})
    report = mill.clean({"a": [1, 2, None]})
    assert (report.kept, report.filtered, mill.kept()) == (1, 2, [2])


def test_the_first_row_of_a_key_is_kept_across_pieces_and_runs(make_mill: Any) -> None:
    mill = make_mill(source={"key": ["a", "b"], "piece_rows": 3})
    first = mill.clean({"a": [1, 1, 2], "b": [1, 1, 1]}, {"a": [2, 3], "b": [1, 1]})
    second = mill.clean({"a": [1, 2, None, None], "b": [1, 2, 1, 1]})
    assert (first.duplicates, second.duplicates) == (2, 1)
    assert mill.kept() == [1, 2, 3, 2, None, None]


def test_a_mended_row_is_kept_though_its_key_was_set_aside(make_mill: Any) -> None:
    mill = make_mill(source={"key": ["a"]}, columns={"b": {"min": 0}})
    mill.clean({"a": [1], "b": [-1]})
    mill.clean({"a": [1], "b": [1]})
    assert mill.kept("b") == [1]


def test_a_value_repeated_in_a_later_run_is_set_aside(make_mill: Any) -> None:
    mill = make_mill(columns={"a": {"unique": True}})
    mill.clean({"a": [1, 2]})
    mill.clean({"a": [2, 3]})
    assert (mill.kept(), mill.set_aside()) == ([1, 2, 3], [("a.unique", "2")])


def test_too_many_bad_rows_fail_the_run_and_commit_nothing_of_them(make_mill: Any) -> None:
    mill = make_mill(
        source={"piece_rows": 2}, validate={"max_bad_ratio": 0.4}, columns={"a": {"max": 9}}
    )
    with pytest.raises(
        DataError, match=r"'main': 2 of 2 rows are bad.*max_bad_ratio 0\.4.*a\.max 2 \(such as '10'"
    ):
        mill.clean({"a": [1, 2]}, {"a": [10, 11]})
    assert (mill.kept(), mill.set_aside()) == ([1, 2], [])


@pytest.mark.parametrize(
    ("project", "error", "message"),
    [
        ({"rules": [rule("a >")]}, ProjectError, r"rules\[0\]\.expression: found 'a >'"),
        ({"rules": [rule("b > 1")]}, DataError, "names 'b', which source 'main' lacks; it has a"),
        ({"rules": [rule("a + 1")]}, ProjectError, "gives Int64, expected true or false"),
        ({"filter": {"keep": "nope(a)"}}, ProjectError, r"filter\.keep: "),
        ({"columns": {"b": {"min": 1}}}, DataError, r"columns\.b: names 'b'"),
        ({"columns": {"a": {"pattern": "("}}}, ProjectError, r"columns\.a\.pattern"),
        ({"source": {"key": ["k"]}}, DataError, r"sources\.main\.key: names 'k'"),
        ({"source": {"time": "t"}}, DataError, r"sources\.main\.time: names 't'"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_be_used_is_named(
    make_mill: Any, project: dict[str, Any], error: type[Exception], message: str
) -> None:
    mill = make_mill(**project)
    with pytest.raises(error, match=message):
        mill.clean({"a": [1]})
    assert mill.clean_.version() == -1


def test_bounds_on_text_are_a_mistake_of_the_project(make_mill: Any) -> None:
    with pytest.raises(ProjectError, match=r"columns\.a: min and max need a number"):
        make_mill(columns={"a": {"kind": "category", "min": 1}}).clean({"a": ["x"]})


def test_bounds_alone_say_that_a_column_holds_numbers(make_mill: Any) -> None:
    mill = make_mill(columns={"a": {"min": 1}}, validate={"max_bad_ratio": 1})
    assert mill.clean({"a": ["x", "3", "0", None]}).quarantined == {"a.kind": 1, "a.min": 1}
    assert mill.clean_.scan().collect()["a"].to_list() == [3.0, None]


@pytest.mark.parametrize("then", ["a < 5", "a < 3"])
def test_a_kill_between_the_two_commits_is_mended_even_if_the_rules_changed(
    make_mill: Any, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    mill = make_mill(rules=[{"name": "r", "expression": "a < 5"}], source={"key": ["a"]})
    mill.clean({"a": [1]})
    with monkeypatch.context() as patch:
        append = type(mill.clean_).append

        def die(table: Any, *args: Any, **options: Any) -> int:
            if table is mill.clean_:
                raise KeyboardInterrupt
            return int(append(table, *args, **options))

        patch.setattr(type(mill.clean_), "append", die)
        with pytest.raises(KeyboardInterrupt):
            mill.clean({"a": [1, 2, 9]}, {"a": [4]})
    mill.add({"a": [7, 0]})
    mill.project = mill.project.model_copy(
        update={"rules": (mill.project.rules[0].model_copy(update={"expression": then}),)}
    )
    report = mill.clean()
    assert (report.num_rows, report.duplicates) == (6, 1)
    assert mill.kept() == [1, 2, 4, 0]
    assert [value for _, value in mill.set_aside()] == ['{"a":9}', '{"a":7}']


ROWS = st.lists(
    st.tuples(st.integers(-3, 9) | st.none(), st.sampled_from(["x", "y", "?", "5", None])),
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(pieces=st.lists(ROWS, min_size=1, max_size=4), piece_rows=st.integers(1, 20))
def test_every_row_ends_in_one_place(make_mill: Any, pieces: list[Any], piece_rows: int) -> None:
    mill = make_mill(
        source={"key": ["a", "b"], "piece_rows": piece_rows},
        columns={"a": {"min": 0, "unique": False}, "b": {"values": ["x", "y", "5"]}},
        rules=[{"name": "sum", "expression": "a <> 7 OR b = 'x'"}],
        filter={"keep": "a < 8"},
    )
    schema = {"a": pl.Int64, "b": pl.String}
    report = mill.clean(*(pl.DataFrame(piece, schema=schema, orient="row") for piece in pieces))
    parts = report.kept + report.filtered + report.duplicates + sum(report.quarantined.values())
    assert report.num_rows == parts == sum(map(len, pieces))
    assert mill.clean_.num_rows() == report.kept
    assert mill.quarantine.num_rows() == sum(report.quarantined.values())
    if not report.kept:
        return
    keys = mill.clean_.scan().select("a", "b").drop_nulls().collect()
    assert keys.is_unique().all()
