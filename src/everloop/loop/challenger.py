"""One challenger: trained, compressed and judged, each step recorded and never done twice."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import polars as pl
from pydantic import JsonValue

from everloop.compress import compress
from everloop.gate import measure_gate, objections, summary
from everloop.loop.cut import Cut, Wanted
from everloop.loop.dataset import labelled_rows, newest_time, stream_time
from everloop.loop.facts import num_labelled
from everloop.loop.giveaway import find_giveaways
from everloop.loop.ledger import Run, stage_key
from everloop.loop.workspace import Workspace, iso
from everloop.store.bundles import Bundle, Draft
from everloop.train import RecalibrateJob, Splits, TrainJob, recalibrate, split, train


@dataclass(frozen=True)
class Verdict:
    """What the gate found.

    Attributes:
        objections: Why the challenger should not be promoted; empty if it may.
        summary: What speaks for it.
    """

    objections: tuple[str, ...]
    summary: tuple[str, ...]


class Making:
    """Makes challengers from the rows of one cut.

    Attributes:
        runs: The stage runs so far, and whether each was done now.
    """

    def __init__(
        self,
        ws: Workspace,
        cut: Cut,
        *,
        since: datetime | None = None,
        also: Iterable[str] = (),
    ) -> None:
        """Prepare; rows are read when a stage first needs them.

        Args:
            ws: The workspace.
            cut: Which rows.
            since: Only rows of this time or later, where the older ones are not needed.
            also: Columns that the champion needs, so that the gate can score it after the project
                file named others.
        """
        self._ws = ws
        self._cut = cut
        self._since = since
        # Without train.features every column of the data is learned from, so none may be added but
        # those that are excluded by name.
        spec = ws.project.train
        self._also = tuple(n for n in also if spec.features is not None or n in spec.exclude)
        self.runs: list[tuple[Run, bool]] = []

    def trained(self) -> str:
        """Train from scratch; return the bundle's digest.

        Raises:
            DataError: If the rows cannot be learned from.
        """
        inputs = self._train_inputs()

        def work() -> Mapping[str, JsonValue]:
            job = TrainJob(
                work=self._ws.work / stage_key("train", inputs)[:16],
                created_at=self._ws.clock.now(),
                data=self._cut.data,
                stream_time=self._cut.until or stream_time(self._ws),
                progress=self._ws.progress,
            )
            draft = train(self._splits, self._ws.project, job)
            warnings: JsonValue = list(
                find_giveaways(self._splits.fit, self._splits.tune, draft.manifest)
            )
            return {**self._write(draft), "warnings": warnings}

        return self._run("train", inputs, work)

    def compressed(self, bundle: str) -> str:
        """Return the best variant of a bundle, which may be itself."""

        def work() -> Mapping[str, JsonValue]:
            found = compress(self._open(bundle), self._splits, self._ws.project)
            tried: JsonValue = [variant.model_dump(mode="json") for variant in found.tried]
            if found.draft is None:
                return {"bundle": bundle, "tried": tried}
            return {**self._write(found.draft), "tried": tried}

        return self._run("compress", self._compress_inputs(bundle), work)

    def recalibrated(self, champion: str) -> str:
        """Refit the champion's slope and bias on newer rows than it was fitted to."""
        spec = self._ws.project.retrain
        inputs: dict[str, JsonValue] = {
            "bundle": champion,
            "window_s": spec.recalibrate_window.total_seconds(),
            "prior_rows": spec.recalibrate_prior_rows,
            **self._settings("train"),
            **self._rows_key(),
        }

        def work() -> Mapping[str, JsonValue]:
            bundle = self._open(champion)
            job = RecalibrateJob(
                created_at=self._ws.clock.now(),
                data=self._cut.data,
                stream_time=self._cut.until or stream_time(self._ws),
            )
            rows = self._newer_rows(bundle)
            return self._write(recalibrate(bundle, rows, self._ws.project, job))

        return self._run("recalibrate", inputs, work)

    def _newer_rows(self, bundle: Bundle) -> pl.DataFrame:
        """Return rows newer than a bundle's fit, within the window, and older than the gate's."""
        splits, time = self._splits, self._ws.project.main.time
        rows = pl.concat([splits.fit, splits.tune, splits.select])
        if time is None or rows.is_empty():
            return rows
        newest = rows[time].max()
        assert isinstance(newest, datetime)
        since = newest - self._ws.project.retrain.recalibrate_window
        fit = bundle.manifest.splits.get("fit")
        if fit is not None:
            since = max(since, datetime.fromisoformat(fit.last))
        return rows.filter(pl.col(time) > since)

    def judged(self, bundle: str, champion: str | None) -> Verdict:
        """Judge a bundle against the champion's on the newest labelled rows."""

        def work() -> Mapping[str, JsonValue]:
            against = None if champion is None else self._open(champion)
            evidence = measure_gate(
                self._open(bundle), against, self._splits.gate, self._ws.project
            )
            found: JsonValue = list(objections(evidence, self._ws.project.gate))
            return {
                "bundle": bundle,
                "evidence": evidence.model_dump(mode="json"),
                "objections": found,
                "summary": list(summary(evidence)),
            }

        inputs = {"bundle": bundle, "champion": champion}
        self._run("gate", {**inputs, **self._settings("gate"), **self._rows_key()}, work)
        outputs: Any = self.runs[-1][0].outputs
        return Verdict(tuple(outputs["objections"]), tuple(outputs["summary"]))

    def known(self) -> str | None:
        """Return the bundle that these rows and settings made before, if they did."""
        ledger = self._ws.ledger
        trained = ledger.find("train", stage_key("train", self._train_inputs()))
        if trained is None:
            return None
        inputs = self._compress_inputs(str(trained.outputs["bundle"]))
        compressed = ledger.find("compress", stage_key("compress", inputs))
        if compressed is None or not self._is_kept(compressed):
            return None
        return str(compressed.outputs["bundle"])

    def _train_inputs(self) -> dict[str, JsonValue]:
        return self._settings("train", "columns", "monitor") | self._rows_key()

    def _compress_inputs(self, bundle: str) -> dict[str, JsonValue]:
        return {"bundle": bundle, **self._settings("compress", "gate"), **self._rows_key()}

    def _run(
        self,
        stage: str,
        inputs: Mapping[str, JsonValue],
        work: Callable[[], Mapping[str, JsonValue]],
    ) -> str:
        run = self._ws.ledger.run(stage, inputs, work, is_kept=self._is_kept)
        self.runs.append(run)
        return str(run[0].outputs["bundle"])

    def _is_kept(self, run: Run) -> bool:
        """Whether the bundle that a run made was not freed since."""
        try:
            self._ws.bundles.manifest(str(run.outputs["bundle"]))
        except KeyError:
            return False
        return True

    def _write(self, draft: Draft) -> dict[str, JsonValue]:
        bundle = self._ws.bundles.write(draft)
        return {"bundle": bundle.digest, "metrics": dict(bundle.manifest.metrics)}

    def _open(self, digest: str) -> Bundle:
        return self._ws.bundles.open(digest)

    @cached_property
    def _splits(self) -> Splits:
        wanted = Wanted(since=self._since) if self._since else self._thinned()
        rows = labelled_rows(self._ws, self._cut, wanted, also=self._also).collect()
        return split(rows, self._ws.project)

    def _thinned(self) -> Wanted | None:
        """Return a sample of the older rows that is sure to hold all that `split` will choose."""
        spec, newest = self._ws.project.train, newest_time(self._ws, self._cut)
        parts = (spec.split.tune, spec.split.select, spec.split.gate, spec.recent)
        num_rows = num_labelled(self._ws, self._cut)
        if spec.max_rows is None or newest is None or num_rows < 2 * spec.max_rows:
            return None
        if not all(isinstance(part, timedelta) for part in parts):
            return None
        lengths = [part for part in parts if isinstance(part, timedelta)]
        known_after = self._ws.project.label.known_after
        # A day and a quarter more than is needed: parts begin between rows, and samples vary.
        before = newest - sum(lengths, known_after) - timedelta(days=1)
        return Wanted(sampled_before=before, ratio=1.25 * spec.max_rows / num_rows, seed=spec.seed)

    def _settings(self, *sections: str) -> dict[str, JsonValue]:
        names = {*sections, "sources", "join"}
        found: dict[str, JsonValue] = self._ws.project.model_dump(
            mode="json", by_alias=True, include=names
        )
        return {"settings": found}

    def _rows_key(self) -> dict[str, JsonValue]:
        until = self._cut.until
        return {"tables": dict(self._cut.versions), "until": None if until is None else iso(until)}
