"""How far the rows now served are from those the champion learned from, column by column.

Where every column drifts a little every week, a yes or no for each says nothing; so the report
ranks the columns, and says which share of them is past the line.
"""

from everloop.measure.divergence import js, psi_excess
from everloop.measure.profile import CategoryProfile, ColumnProfile, Profile
from everloop.spec.project import MonitorSpec
from everloop.spec.record import Record


class ColumnDrift(Record):
    """One column's drift.

    Attributes:
        name: The column.
        psi: Population stability index in nats, nulls as a bin of their own, less what chance adds.
        js: Jensen-Shannon divergence in bits, 0 to 1.
        is_drifted: Whether ``psi`` is over ``monitor.psi``.
        null_ratio: Share of nulls now.
        null_ratio_change: That, less the reference's.
        unseen_ratio: Share of rows with a value the reference did not count: another category, or
            a number outside its range; less the share of such rows in the reference itself.
    """

    name: str
    psi: float
    js: float
    is_drifted: bool
    null_ratio: float
    null_ratio_change: float
    unseen_ratio: float


class DriftReport(Record):
    """All columns' drift, the most drifted first.

    Attributes:
        num_reference_rows: Rows the champion learned from.
        num_rows: Rows now served.
        columns: Empty where there are too few rows.
        drift_share: Share of the columns that have drifted; None where there are too few rows.
        note: Why there is nothing to say, naming the setting; empty otherwise.
    """

    num_reference_rows: int
    num_rows: int
    columns: tuple[ColumnDrift, ...] = ()
    drift_share: float | None = None
    note: str = ""

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the drifted columns, the most drifted first."""
        return tuple(column.name for column in self.columns if column.is_drifted)


def measure_drift(reference: Profile, current: Profile, spec: MonitorSpec) -> DriftReport:
    """Compare two profiles.

    Args:
        reference: Of the rows the champion learned from; it travels in the bundle.
        current: Of the newest rows, made by `everloop.measure.profile.profile_like`.
        spec: Says how many rows are enough and what counts as drift.

    Raises:
        ValueError: If the two were not counted on the same bins.
    """
    if note := _too_few(reference, current, spec):
        return DriftReport(
            num_reference_rows=reference.num_rows, num_rows=current.num_rows, note=note
        )
    found = [
        _column_drift(name, column, _same_bins(name, column, current), spec.psi)
        for name, column in reference.columns.items()
    ]
    found.sort(key=lambda column: (-column.psi, column.name))
    num_drifted = sum(column.is_drifted for column in found)
    return DriftReport(
        num_reference_rows=reference.num_rows,
        num_rows=current.num_rows,
        columns=tuple(found),
        drift_share=num_drifted / len(found) if found else 0.0,
    )


def _too_few(reference: Profile, current: Profile, spec: MonitorSpec) -> str:
    for what, profile in (("reference", reference), ("current window", current)):
        if profile.num_rows < spec.min_rows:
            return (
                f"the {what} has {profile.num_rows} rows, fewer than monitor.min_rows "
                f"{spec.min_rows}; no drift is measured"
            )
    return ""


def _same_bins(name: str, reference: ColumnProfile, current: Profile) -> ColumnProfile:
    found = current.columns.get(name)
    if found is None or _bins(found) != _bins(reference):
        raise ValueError(
            f"column {name!r}: the current profile was not counted on the reference's bins; make "
            "it with profile_like"
        )
    return found


def _bins(column: ColumnProfile) -> tuple[float, ...] | tuple[str, ...]:
    return column.values if isinstance(column, CategoryProfile) else column.edges


def _column_drift(
    name: str, reference: ColumnProfile, current: ColumnProfile, line: float
) -> ColumnDrift:
    psi = psi_excess(reference.all_counts, current.all_counts)
    null_ratio = current.nulls / sum(current.all_counts)
    return ColumnDrift(
        name=name,
        psi=psi,
        js=js(reference.all_counts, current.all_counts),
        is_drifted=psi > line,
        null_ratio=null_ratio,
        null_ratio_change=null_ratio - reference.nulls / sum(reference.all_counts),
        unseen_ratio=max(0.0, _outside_ratio(current) - _outside_ratio(reference)),
    )


def _outside_ratio(column: ColumnProfile) -> float:
    if isinstance(column, CategoryProfile):
        outside = column.other
    else:
        # A column without a number in the reference has one bin, and all in it is unseen.
        outside = column.counts[0] + (column.counts[-1] if len(column.counts) > 1 else 0)
    return outside / sum(column.all_counts)
