"""Which rows: a cut pins them, so that a resumed run sees the same; some of them are wanted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from everloop.spec.manifest import DataVersion


@dataclass(frozen=True)
class Cut:
    """Which rows: table versions, and how far in stream time.

    Attributes:
        versions: Table name to version.
        until: Only labels known by this moment; all where it is None.
    """

    versions: Mapping[str, int] = field(default_factory=dict)
    until: datetime | None = None

    @property
    def data(self) -> tuple[DataVersion, ...]:
        """The versions as a manifest holds them."""
        return tuple(DataVersion(table=t, version=v) for t, v in sorted(self.versions.items()))


@dataclass(frozen=True)
class Wanted:
    """Which labelled rows are needed, so that the others are not even joined.

    Attributes:
        since: Only rows of this time or later.
        sampled_before: Of the rows before this time, only a sample.
        ratio: Its share.
        seed: Which sample.
    """

    since: datetime | None = None
    sampled_before: datetime | None = None
    ratio: float = 1.0
    seed: int = 0

    @property
    def is_all(self) -> bool:
        """Whether every row is needed."""
        return self.since is None and self.ratio >= 1

    def test(self, time: pl.Expr, names: Iterable[str]) -> pl.Expr:
        """Return an expression that is true for the rows wanted.

        Args:
            time: When a row happened.
            names: Columns that tell rows apart; a row is in the sample or not, whenever it is read.
        """
        found = pl.lit(value=True)
        if self.since is not None:
            found = time >= self.since
        if self.sampled_before is not None and self.ratio < 1:
            drawn = pl.struct(list(dict.fromkeys(names))).hash(self.seed) < int(
                self.ratio * (2**64 - 1)
            )
            found = found & ((time >= self.sampled_before) | drawn)
        return found
