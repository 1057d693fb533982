"""Counters and histograms for the hot path, and their Prometheus text.

A counter of a client library costs a microsecond or two with its labels; these cost a tenth, since
a series is found once and then added to. Labels come from closed sets only.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence

_ROUND = 12
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)
MAX_SERIES = 500


class Series:
    """One number under one set of label values; add to `value`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Counter:
    """A number that only grows, by label values."""

    kind = "counter"

    def __init__(self, name: str, about: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.about = about
        self._labels = tuple(labels)
        self._series: dict[tuple[str, ...], Series] = {}

    def at(self, *values: str) -> Series:
        """Return the series of these label values; past the bound, the one named ``other``."""
        found = self._series.get(values)
        if found is None:
            if len(self._series) >= MAX_SERIES:
                values = ("other",) * len(self._labels)
            found = self._series.setdefault(values, Series())
        return found

    def clear(self) -> None:
        """Forget every series."""
        self._series.clear()

    def lines(self) -> list[str]:
        """Return the samples."""
        return [
            f"{self.name}{_braces(self._labels, values)} {_number(series.value)}"
            for values, series in self._series.items()
        ]


class Gauge(Counter):
    """A number that goes up and down."""

    kind = "gauge"


class Reading(Counter):
    """A number that is read when it is asked for."""

    def __init__(self, name: str, about: str, read: Callable[[], float]) -> None:
        super().__init__(name, about)
        self.kind = "counter" if name.endswith("_total") else "gauge"
        self._read = read

    def lines(self) -> list[str]:
        """Return the one sample."""
        return [f"{self.name} {_number(self._read())}"]


class Distribution:
    """The counts of one histogram under one label value."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class Histogram:
    """Counts of values on fixed bounds, by one label's value."""

    kind = "histogram"

    def __init__(self, name: str, about: str, bounds: Sequence[float], label: str = "") -> None:
        self.name = name
        self.about = about
        self._bounds = tuple(bounds)
        self._label = label
        self._series: dict[str, Distribution] = {}

    def at(self, value: str = "") -> Distribution:
        """Return the distribution of this label value, which is from a closed set."""
        return self._series.setdefault(value, Distribution(self._bounds))

    def lines(self) -> list[str]:
        """Return the samples of every label value."""
        return [line for value, one in self._series.items() for line in self._of(value, one)]

    def _of(self, value: str, one: Distribution) -> list[str]:
        label, values = ((self._label,), (value,)) if self._label else ((), ())
        lines, running = [], 0
        for bound, count in zip((*self._bounds, None), one.counts, strict=True):
            running += count
            le = "+Inf" if bound is None else _number(bound)
            lines.append(f"{self.name}_bucket{_braces((*label, 'le'), (*values, le))} {running}")
        braces = _braces(label, values)
        lines.append(f"{self.name}_sum{braces} {_number(one.total)}")
        lines.append(f"{self.name}_count{braces} {running}")
        return lines


def _braces(labels: Sequence[str], values: Sequence[str]) -> str:
    if not labels:
        return ""
    pairs = zip(labels, values, strict=True)
    return "{" + ",".join(f'{label}="{_escape(value)}"' for label, value in pairs) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(round(value, _ROUND))


class Metrics:
    """Everything a replica counts."""

    def __init__(self) -> None:
        labels = ("model", "version", "protocol", "code")
        self.requests = Counter(
            "everloop_inference_requests_total", "Inference requests answered.", labels
        )
        self.rows = Counter("everloop_inference_rows_total", "Rows predicted.", ("version",))
        self.duration = Histogram(
            "everloop_inference_duration_seconds", "Time by stage.", SECONDS, "stage"
        )
        self.batch = Histogram("everloop_batch_size", "Rows of one model call.", ROWS)
        self.model = Gauge("everloop_model_info", "The version served.", ("model", "version"))
        self.ready = Gauge("everloop_replica_ready", "1 once a model is served.")
        self.swaps = Counter("everloop_model_swaps_total", "Model loads by outcome.", ("outcome",))
        self.polls = Counter("everloop_route_polls_total", "Route look-ups.", ("outcome",))
        self.labels = Counter("everloop_labels_total", "Labels received.", ("outcome",))
        self.unlogged = Counter(
            "everloop_predictions_unlogged_total", "Predicted rows that found no room.", ("reason",)
        )
        self.refused = Counter("everloop_http_refused_total", "Requests refused.", ("code",))
        self._readings: list[Reading] = []
        self.ready.at()

    def reading(self, name: str, about: str, read: Callable[[], float]) -> None:
        """Add a number that is read when asked for."""
        self._readings.append(Reading(name, about, read))

    def text(self) -> bytes:
        """Return all of it in the Prometheus text format 0.0.4."""
        lines: list[str] = []
        families = [family for family in vars(self).values() if hasattr(family, "lines")]
        for family in (*families, *self._readings):
            samples = family.lines()
            if samples:
                lines.append(f"# HELP {family.name} {family.about}")
                lines.append(f"# TYPE {family.name} {family.kind}")
                lines.extend(samples)
        return ("\n".join(lines) + "\n").encode()
