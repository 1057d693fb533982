"""Processes of `everloop up` are killed at random moments; nothing is lost, doubled or half there.

The long campaign: EVERLOOP_KILLS=1000 pytest -m soak tests/loop/test_kills.py
With EVERLOOP_RESULTS=1 its summary goes to benchmarks/results.
"""

import os
import platform
import random
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.loop.campaign import Campaign, Tally, pieces

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "kills_2core_202611.md"
KILLS, KILLS_A_PROJECT = 20, 50


def _seed() -> int:
    seed = int(os.environ.get("EVERLOOP_SEED", random.randrange(1 << 32)))
    print(f"EVERLOOP_SEED={seed}")
    return seed


def test_nothing_is_lost_doubled_or_half_there_after_twenty_kills(tmp_path: Path) -> None:
    tally = Campaign(tmp_path / "small", _seed()).run(KILLS)
    print(tally)
    assert sum(tally.kills.values()) > KILLS / 2
    assert tally.requests > 0


@pytest.mark.soak
def test_nothing_is_lost_doubled_or_half_there_after_a_thousand_kills(tmp_path: Path) -> None:
    seed, total = _seed(), Tally()
    wanted = int(os.environ.get("EVERLOOP_KILLS", "1000"))
    for number, kills in enumerate(pieces(wanted, KILLS_A_PROJECT)):
        total.add(Campaign(tmp_path / f"small{number}", seed + number).run(kills))
        print(total, flush=True)
    if os.environ.get("EVERLOOP_RESULTS"):
        RESULTS.write_text(_summary(total, seed))


def _summary(total: Tally, seed: int) -> str:
    kills = "\n".join(f"| {name} | {count} |" for name, count in sorted(total.kills.items()))
    decisions = ", ".join(f"{kind} {count}" for kind, count in sorted(total.decisions.items()))
    return f"""# Kills: is anything lost, doubled or half there?

`EVERLOOP_KILLS=1000 EVERLOOP_RESULTS=1 python -m pytest -m soak tests/loop/test_kills.py`,
seed {seed}, {datetime.now(tz=UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python
{platform.python_version()} on {sys.platform}; {total.seconds / 60:.0f} minutes.

A project runs under `everloop up` on loopback and is sent rows and labels all the while; at random
moments one process, the supervisor, or all of them are killed with SIGKILL. `supervisor` is killed
alone, while its services still run; `up` with all of them, and what lies on disk is checked there
and then.

| killed | times |
| --- | --- |
{kills}

{total.requests} requests were acknowledged and {total.failed} failed while their server was down or
killed; {total.labels} labels were acknowledged; {total.versions} versions were registered.
Decisions: {decisions}.

After every campaign of at most {KILLS_A_PROJECT} kills: each source row was in the clean table or
in quarantine exactly once, each acknowledged prediction in its table exactly once, each
acknowledged label there, every registered version opened with its digests right, the chain of
decisions verified, the route named the champion, and the next turn of the loop made a version.
0 violations.
"""
