import io
import json

import pytest

from everloop.serve.events import EventLog


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_in_a_pipe_an_event_is_a_line_of_json() -> None:
    stream = io.StringIO()
    EventLog("m", stream=stream).write("info", "model-swapped", "version 3 serves", version="3")
    line = json.loads(stream.getvalue())
    assert line["message"] == "version 3 serves"
    assert line["labels"] == {"model": "m", "version": "3"}


def test_on_a_terminal_an_event_is_a_line_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVERLOOP_LOG", raising=False)
    stream = Terminal()
    events = EventLog("m", stream=stream)
    events.write("info", "model-swapped", "version 3 serves", version="3")
    events.write("error", "spool-failed", "not logged", error=OSError("the disk is full"))
    assert stream.getvalue().splitlines() == [
        "serve: version 3 serves",
        "serve: not logged: the disk is full",
    ]


def test_json_may_be_asked_for_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERLOOP_LOG", "json")
    stream = Terminal()
    EventLog("m", stream=stream).write("info", "model-swapped", "version 3 serves")
    assert json.loads(stream.getvalue())["event.action"] == "model-swapped"
