"""The status page: what it shows of a project, and what it never lets through."""

from everloop.console.pages import StatusData, status_page, trends, trouble_page
from everloop.console.records import LiveWindow, QuarantineCount


def test_the_page_shows_every_part_of_the_project(status_data: StatusData) -> None:
    page = status_page(status_data, reports=["report.html"], refresh_s=7)
    for part in (
        *("flights", "version 12", "boosting, fp32, 281 KB", "3 of 6", "of 330,106 seen"),
        *("tune.log_loss", "wind_is_possible", "roll-back", "champion is version 12"),
        *('href="/reports/report.html"', 'content="7"', "1.310 drifted"),
    ):
        assert part in page
    assert page.index("2013-12-27") < page.index("2013-03-29")


def test_a_project_that_has_only_begun_has_a_page() -> None:
    page = status_page(StatusData(project="new", store="s", as_of="2026-01-01T00:00:00+00:00"))
    for part in ("none yet", "No row has broken a rule", "No decision yet", "no row yet"):
        assert part in page


def test_words_from_the_data_stay_words(status_data: StatusData) -> None:
    bad = "<img src=x onerror=alert(1)>"
    hostile = status_data.model_copy(
        update={
            "project": bad,
            "store": bad,
            "aliases": {bad: 1},
            "windows": (LiveWindow(start=bad, end=bad, rows=1, values={bad: 1.0}),),
            "quarantine": (QuarantineCount(source=bad, rule=bad, rows=1),),
        }
    )
    assert "<img" not in status_page(hostile, reports=[bad])
    assert "<img" not in trouble_page(bad, bad)


def test_a_metric_is_followed_over_the_windows_that_have_it() -> None:
    windows = [
        LiveWindow(start="a", end="b", rows=1, values=values)
        for values in ({"auc": 0.5}, {}, {"auc": 0.7, "brier": 0.1})
    ]
    auc, brier = trends(windows)
    assert (auc.name, auc.newest, auc.points) == ("auc", 0.7, "0.0,28.0 100.0,2.0")
    assert auc.alt == "AUC over 2 windows, from 0.5000 to 0.7000, between 0.5000 and 0.7000"
    assert brier.points == "0.0,15.0 100.0,15.0"
