import subprocess
from collections.abc import Callable

from everloop.serve.metrics import MAX_SERIES, Counter, Histogram, Metrics


def test_a_histogram_counts_up_to_each_bound() -> None:
    histogram = Histogram("h_seconds", "About.", (0.1, 1.0), "stage")
    for value in (0.05, 0.1, 0.5, 3.0):
        histogram.at("queue").observe(value)
    assert histogram.lines() == [
        'h_seconds_bucket{stage="queue",le="0.1"} 2',
        'h_seconds_bucket{stage="queue",le="1"} 3',
        'h_seconds_bucket{stage="queue",le="+Inf"} 4',
        'h_seconds_sum{stage="queue"} 3.65',
        'h_seconds_count{stage="queue"} 4',
    ]


def test_label_values_are_escaped() -> None:
    counter = Counter("c_total", "About.", ("model",))
    counter.at('a"b\\c\nd').value += 1
    assert counter.lines() == ['c_total{model="a\\"b\\\\c\\nd"} 1']


def test_a_flood_of_labels_ends_in_one_series() -> None:
    counter = Counter("c_total", "About.", ("model",))
    for i in range(10_000):
        counter.at(str(i)).value += 1
    assert len(counter.lines()) == MAX_SERIES + 1
    assert counter.at("other").value == 10_000 - MAX_SERIES


def test_every_family_has_its_help_and_its_type() -> None:
    metrics = Metrics()
    metrics.reading("x_total", "X.", lambda: 1.5)
    text = metrics.text().decode()
    assert "# TYPE everloop_replica_ready gauge\neverloop_replica_ready 0\n" in text
    assert text.endswith("# HELP x_total X.\n# TYPE x_total counter\nx_total 1.5\n")


def test_prometheus_finds_no_fault_with_the_page(program: Callable[..., str]) -> None:
    metrics = Metrics()
    metrics.reading("x_total", "X.", lambda: 1.5)
    command = [program("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=metrics.text(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
