"""How decisions and manifests read on a terminal."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from everloop.loop.trail import DecisionLine
    from everloop.spec.manifest import Manifest

_WIDTH = 88


def moment(text: str) -> str:
    """Write an ISO 8601 moment without the parts that nobody reads.

    >>> moment("2026-11-24T17:53:03.326732+00:00")
    '2026-11-24 17:53:03 UTC'
    """
    from datetime import UTC, datetime

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return text
    utc = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return utc.strftime("%Y-%m-%d %H:%M:%S UTC")


def tell_decision(decision: "DecisionLine", *, with_time: bool = False) -> None:
    """Write one decision: what, about which version, and every reason."""
    version = "" if decision.version is None else f" version {decision.version}"
    head = f"{decision.kind.replace('_', ' ')}{version}"
    if with_time:
        click.echo(f"{moment(decision.time)}  {head}")
        for reason in decision.reasons:
            click.echo(f"    {reason}")
        return
    name, first = decision.kind.replace("_", " "), version.strip() or "the model"
    click.echo(f"{name:9} {first}")
    for reason in decision.reasons:
        click.echo(f"          {reason}")


def tell_manifest(manifest: "Manifest") -> None:
    """Write what made a bundle, the most asked for first."""
    _fact("model", f"{manifest.name}: {manifest.task} by {manifest.family}, {manifest.variant}")
    _fact("made", moment(manifest.created_at))
    if manifest.stream_time is not None:
        _fact("newest row", moment(manifest.stream_time))
    _fact("data", ", ".join(f"{d.table} version {d.version}" for d in manifest.data))
    for name, rows in manifest.splits.items():
        _fact(f"{name} rows", f"{rows.num_rows}, {moment(rows.first)} to {moment(rows.last)}")
    _list("classes", manifest.classes)
    _list("inputs", (tensor.name for tensor in manifest.inputs))
    _list("outputs", (tensor.name for tensor in manifest.outputs))
    _list("metrics", _numbers(manifest.metrics))
    _list("calibration", _numbers(manifest.calibration.model_dump()))
    _list("parents", (parent[:12] for parent in manifest.parents))
    _list("files", (f"{f.name} {f.size_bytes} bytes" for f in manifest.files))
    _fact("settings", f"{manifest.project_digest[:12]}, seed {manifest.seed}")
    _list("libraries", (f"{name} {version}" for name, version in manifest.versions.items()))
    _list("licences", (f"{name} {licence}" for name, licence in manifest.licences.items()))


def _numbers(values: Mapping[str, float]) -> Iterable[str]:
    return (f"{name} {value:.4f}" for name, value in values.items())


def _fact(name: str, text: str) -> None:
    click.echo(f"{name:12} {text}")


def _list(name: str, words: Iterable[str]) -> None:
    """Write words after a name, wrapped between them."""
    line = ""
    for word in words:
        if line and len(line) + len(word) > _WIDTH:
            _fact(name, f"{line},")
            name, line = "", ""
        line = f"{line}, {word}" if line else word
    if line:
        _fact(name, line)
