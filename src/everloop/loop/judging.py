"""The gate on demand: judges a version against the champion and changes nothing."""

from typing import Any, Literal

from pydantic import JsonValue

from everloop.loop.challenger import Making
from everloop.loop.dataset import cut_now
from everloop.loop.workspace import Workspace
from everloop.spec.errors import DataError
from everloop.spec.record import Record


class Judgement(Record):
    """What the gate says of a version.

    Attributes:
        version: Which was judged.
        champion: The version it was judged against, if there is one.
        outcome: What the loop would do if it promotes by itself.
        objections: Why it should not be promoted; empty if it may.
        summary: What speaks for it.
        evidence: Everything that was measured.
    """

    version: int
    champion: int | None
    outcome: Literal["promote", "hold"]
    objections: tuple[str, ...]
    summary: tuple[str, ...]
    evidence: dict[str, JsonValue]


def judge(ws: Workspace, version: int | None = None) -> Judgement:
    """Judge a version, the newest where none is named, on the newest labelled rows.

    Raises:
        DataError: If there is no such version, or it is the champion.
    """
    versions = ws.registry.versions()
    if not versions:
        raise DataError("there is no version yet; run `everloop run` first")
    number = version or versions[-1].number
    champion = ws.registry.aliases().get("champion")
    if number == champion:
        raise DataError(
            f"version {number} is the champion, so there is nobody to judge it against; "
            "name another one of `everloop models`"
        )
    bundle = ws.version_bundle(number)
    against = None if champion is None else ws.version_bundle(champion)
    both = [bundle, *([against] if against else [])]
    needed = dict.fromkeys(c.name for one in both for c in one.manifest.columns)
    making = Making(ws, cut_now(ws), also=tuple(needed))
    verdict = making.judged(bundle.digest, None if against is None else against.digest)
    outputs: Any = making.runs[-1][0].outputs
    return Judgement(
        version=number,
        champion=champion,
        outcome="hold" if verdict.objections else "promote",
        objections=verdict.objections,
        summary=verdict.summary,
        evidence=outputs["evidence"],
    )
