import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import JsonValue

from everloop.loop.ledger import Ledger, stage_key
from everloop.spec.project import StoreSpec
from everloop.store.objects import Objects
from everloop.testing import ManualClock


class Work:
    """Counts how often it was done."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Mapping[str, JsonValue]:
        self.times += 1
        return {"bundle": f"made {self.times}"}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Objects.open(StoreSpec(url="state"), tmp_path), ManualClock())


def test_a_stage_is_run_once_for_the_same_inputs(ledger: Ledger) -> None:
    work = Work()
    first, is_new = ledger.run("train", {"rows": 3}, work)
    again, is_new_again = ledger.run("train", {"rows": 3}, work)
    assert (is_new, is_new_again, work.times) == (True, False, 1)
    assert first == again
    assert first.outputs == {"bundle": "made 1"}


def test_other_inputs_or_another_stage_are_another_run(ledger: Ledger) -> None:
    work = Work()
    ledger.run("train", {"rows": 3}, work)
    ledger.run("train", {"rows": 4}, work)
    ledger.run("compress", {"rows": 3}, work)
    assert work.times == 3
    assert len(ledger.runs()) == 3


def test_the_order_of_the_inputs_does_not_matter() -> None:
    assert stage_key("train", {"a": 1, "b": 2}) == stage_key("train", {"b": 2, "a": 1})


def test_a_failed_run_is_kept_as_such_and_tried_again(ledger: Ledger) -> None:
    def fail() -> Mapping[str, JsonValue]:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        ledger.run("train", {}, fail)
    assert [(r.outcome, r.outputs) for r in ledger.runs()] == [("failed", {"error": "no memory"})]
    run, is_new = ledger.run("train", {}, Work())
    assert (run.outcome, is_new) == ("done", True)


def test_a_run_whose_result_was_freed_is_done_again(ledger: Ledger) -> None:
    work = Work()
    ledger.run("train", {}, work)
    run, is_new = ledger.run("train", {}, work, is_kept=lambda _: False)
    assert (run.outputs, is_new) == ({"bundle": "made 2"}, True)
    assert ledger.run("train", {}, work) == (run, False)


def test_of_two_that_did_the_same_work_the_first_is_kept(ledger: Ledger) -> None:
    work = Work()

    def slow() -> Mapping[str, JsonValue]:
        ledger.run("train", {}, work)  # another process is done first
        return {"bundle": "mine"}

    run, _ = ledger.run("train", {}, slow)
    assert run.outputs == {"bundle": "made 1"}
    assert len(ledger.runs()) == 1


def test_a_run_says_what_went_in_and_what_it_cost(ledger: Ledger, tmp_path: Path) -> None:
    ledger.run("gate", {"champion": None, "rows": {"clean/main": 4}}, Work())
    (file,) = tmp_path.glob("state/ledger/gate/*.json")
    found = json.loads(file.read_text())
    assert found["inputs"] == {"champion": None, "rows": {"clean/main": 4}}
    assert found["seconds"] >= 0
    assert found["started_at"].startswith("2026-01-01")
