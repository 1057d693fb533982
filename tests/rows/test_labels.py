from typing import Any

import polars as pl
import pytest

from everloop.rows.labels import find_task, label_codes
from everloop.spec.errors import DataError


@pytest.mark.parametrize(
    ("labels", "task", "classes"),
    [
        ([True, False], "binary", ("0", "1")),
        ([0.0, 1.0, 1.0], "binary", ("0", "1")),
        (["no", "yes"], "binary", ("no", "yes")),
        (["b", "a", "c"], "multiclass", ("a", "b", "c")),
        ([10, 9, 1], "multiclass", ("1", "9", "10")),
        ([1.5, 2.5, 3.0], "regression", ()),
        (list(range(30)), "regression", ()),
    ],
)
def test_the_task_goes_by_the_label(labels: Any, task: str, classes: tuple[str, ...]) -> None:
    assert find_task(pl.Series(labels), "auto") == (task, classes)


def test_one_value_alone_is_refused() -> None:
    with pytest.raises(DataError, match="expected two values at least"):
        find_task(pl.Series([1.0, 1.0]), "auto")


def test_three_values_are_not_binary_and_text_is_no_number() -> None:
    with pytest.raises(DataError, match="found 3 values, expected 2"):
        find_task(pl.Series([1, 2, 3]), "binary")
    with pytest.raises(DataError, match="expected numbers"):
        find_task(pl.Series(["a", "b"]), "regression")


def test_a_class_is_the_same_as_number_text_or_boolean() -> None:
    for labels in ([1.0, 0.0, None], ["1", "0", None], [True, False, None], [1, 0, None]):
        assert label_codes(pl.Series(labels), "binary", ("0", "1")).tolist() == [1, 0, -1]
    assert label_codes(pl.Series(["x"]), "binary", ("0", "1")).tolist() == [-1]


def test_whole_numbers_past_what_a_float_holds_stay_apart() -> None:
    numbers = pl.Series([2**53, 2**53 + 1])
    task, classes = find_task(numbers, "binary")
    assert classes == (str(2**53), str(2**53 + 1))
    assert label_codes(numbers, task, classes).tolist() == [0, 1]
