"""The ledger: one record for each finished stage run, found by the digest of what went in.

A run whose key is there is never run again, so a killed turn goes on where it stopped.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

import everloop
from everloop.runtime.clock import Clock
from everloop.spec.errors import ConflictError
from everloop.spec.record import Record
from everloop.store.objects import Objects


class Run(Record):
    """One stage run.

    Attributes:
        stage: Its name.
        key: Digest of stage, settings, inputs and code.
        inputs: What it read, by name.
        outputs: What it made or found; evidence too.
        outcome: How it ended.
        started_at: ISO 8601 UTC.
        seconds: Of wall time.
        cpu_seconds: Of this process, all threads.
    """

    stage: str
    key: str
    inputs: dict[str, JsonValue]
    outputs: dict[str, JsonValue]
    outcome: Literal["done", "failed"]
    started_at: str
    seconds: float
    cpu_seconds: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should look at, though it was done."""
        found = self.outputs.get("warnings")
        return tuple(map(str, found)) if isinstance(found, list) else ()


class Ledger:
    """Runs stages at most once for each key and remembers what came out."""

    def __init__(self, objects: Objects, clock: Clock) -> None:
        self._objects = objects
        self._clock = clock

    def run(
        self,
        stage: str,
        inputs: Mapping[str, JsonValue],
        work: Callable[[], Mapping[str, JsonValue]],
        *,
        is_kept: Callable[[Run], bool] = lambda _: True,
    ) -> tuple[Run, bool]:
        """Do the work of a stage, unless a run with the same key is done.

        Args:
            stage: The stage, such as ``train``.
            inputs: Everything the result depends on: settings, versions, digests.
            work: Does it; what it returns is kept.
            is_kept: Whether what an earlier run made is still there; it is made again if not.

        Returns:
            The run, and whether it was done now.
        """
        key = stage_key(stage, inputs)
        done = self.find(stage, key)
        if done is not None and is_kept(done):
            return done, False
        started_at, wall, cpu = self._clock.now().isoformat(), time.monotonic(), time.process_time()

        def record(outcome: Literal["done", "failed"], outputs: Mapping[str, JsonValue]) -> Run:
            return Run(
                stage=stage,
                key=key,
                inputs=dict(inputs),
                outputs=dict(outputs),
                outcome=outcome,
                started_at=started_at,
                seconds=round(time.monotonic() - wall, 3),
                cpu_seconds=round(time.process_time() - cpu, 3),
            )

        try:
            run = record("done", work())
        except Exception as error:
            self._put(
                f"ledger/failed/{stage}-{key[:16]}.json", record("failed", {"error": str(error)})
            )
            raise
        if done is not None:
            self._put(_path(stage, key), run)
            return run, True
        return self._put_new(run), True

    def find(self, stage: str, key: str) -> Run | None:
        """Return the finished run of that key, if there is one."""
        try:
            return Run.model_validate_json(self._objects.get(_path(stage, key)))
        except KeyError:
            return None

    def runs(self) -> list[Run]:
        """Return all finished and failed runs, oldest first."""
        found = [
            Run.model_validate_json(self._objects.get(info.path))
            for info in self._objects.list("ledger/")
        ]
        return sorted(found, key=lambda run: run.started_at)

    def _put_new(self, run: Run) -> Run:
        try:
            self._objects.put_new(_path(run.stage, run.key), _dump(run))
        except ConflictError:
            return self.find(run.stage, run.key) or run
        return run

    def _put(self, path: str, run: Run) -> None:
        self._objects.put(path, _dump(run))


def stage_key(stage: str, inputs: Mapping[str, JsonValue]) -> str:
    """Return the digest of a stage's name, inputs and code, in hex."""
    text = json.dumps([stage, inputs, code_digest()], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def code_digest() -> str:
    """Return the digest of everloop's own source: other code may give another result."""
    folder = Path(everloop.__file__).parent
    digest = hashlib.sha256(everloop.__version__.encode())
    for room in ("spec", "rows", "measure", "frameworks", "validate", "train", "compress", "gate"):
        for path in sorted((folder / room).glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _path(stage: str, key: str) -> str:
    return f"ledger/{stage}/{key}.json"


def _dump(run: Run) -> bytes:
    return run.model_dump_json(indent=1).encode()
