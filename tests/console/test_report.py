"""The report: its two files, its drawings and what a reader can trust in them."""

import json
import re
import xml.etree.ElementTree as ET
from datetime import date
from pathlib import Path

from everloop.console.records import DecisionLine, DriftCell, ReportData, WeekScore
from everloop.console.report import report_page, text_table, write_report

_KEYS = [
    *("auc_frozen", "auc_everloop", "logloss_frozen", "logloss_everloop"),
    *("retrains", "promotions", "holds", "rollbacks", "requests", "requests_failed"),
    *("p50_ms", "p99_ms", "seconds"),
]


def _drawings(page: str) -> list[str]:
    return re.findall(r"<figure.*?(<svg.*?</svg>)\s*</figure>", page, flags=re.DOTALL)


def test_a_report_is_a_page_and_its_totals(report_data: ReportData, tmp_path: Path) -> None:
    page = write_report(report_data, tmp_path / "new" / "folder")
    assert page == tmp_path / "new" / "folder" / "report.html"
    assert {path.name for path in page.parent.iterdir()} == {"report.html", "summary.json"}
    total = json.loads((page.parent / "summary.json").read_text())
    assert list(total) == _KEYS
    assert [total[key] for key in _KEYS[4:8]] == [11, 9, 2, 1]
    assert f"{total['auc_everloop']:.4f}" in page.read_text()


def test_scores_are_means_over_weeks() -> None:
    def week(day: int, rows: int, auc: float | None) -> WeekScore:
        return WeekScore(
            start=date(2013, 3, day),
            rows=rows,
            label_rate=0.1,
            auc_frozen=auc,
            auc_everloop=None,
            logloss_frozen=0.4,
            logloss_everloop=0.3,
        )

    weeks = (week(1, 100, 0.8), week(8, 300, 0.6), week(15, 1_000, None))
    data = ReportData(title="t", subtitle="s", weeks=weeks, seconds=1)
    table = text_table(data)
    assert "all      1,400           10.0%      0.7000             -" in table
    assert "AUC" in report_page(data)


def test_the_page_asks_nothing_of_the_network(report_data: ReportData) -> None:
    page = report_page(report_data)
    addresses = set(re.findall(r"(?:https?:)?//[\w.]+[^\s\"'<]*", page))
    # Names of XML vocabularies look like addresses, but nothing fetches them.
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "<script" not in page
    assert not re.search(r"@import|url\((?!#)", page)


def test_every_drawing_is_sound_xml_with_words_for_who_cannot_see_it(
    report_data: ReportData,
) -> None:
    page = report_page(report_data)
    drawings = _drawings(page)
    assert len(drawings) == 4
    for drawing in drawings:
        ET.fromstring(drawing)
        assert "#010" not in drawing
    alts = re.findall(r'<figure role="img" aria-label="([^"]+)"', page)
    assert len(alts) == 4
    assert "9 promotions and 1 roll-back." in alts[0]


def test_no_two_elements_share_an_id(report_data: ReportData) -> None:
    ids = re.findall(r'\bid="([^"]+)"', report_page(report_data))
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:url\(#|href="#)([^)"]+)', report_page(report_data))
    assert set(references) <= set(ids)


def test_the_same_data_gives_the_same_page(report_data: ReportData) -> None:
    assert report_page(report_data) == report_page(report_data)


def test_words_from_the_data_stay_words(report_data: ReportData) -> None:
    bad = "<script>alert(1)</script>$x_1$"
    hostile = report_data.model_copy(
        update={
            "title": bad,
            "positive": bad,
            "decisions": (
                DecisionLine(time=bad, kind=bad, reasons=(bad,)),
                DecisionLine(time="2013-05-01T00:00:00+00:00", kind="promote"),
            ),
            "drift": (DriftCell(start=date(2013, 3, 1), column=bad, psi=1.0),),
            "stage_seconds": {bad: 1.0, 'a" onload="x': 0.0},
        }
    )
    page = report_page(hostile)
    assert "<script" not in page
    assert 'a" onload="x' not in re.sub(r">[^<]*<", "><", page)
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;$x_1$") > 5
    drawn = "".join(_drawings(page))
    assert drawn.count(">&lt;script&gt;alert(1)&lt;/script&gt;$x_1$</text>") == 2


def test_a_report_of_nothing_says_so() -> None:
    page = report_page(ReportData(title="Empty", subtitle="", weeks=(), seconds=0))
    assert "No week has been scored yet" in page
    assert "No decision yet" in page
    assert _drawings(page) == []


def test_the_farthest_columns_are_drawn_and_the_rest_is_counted() -> None:
    cells = tuple(
        DriftCell(start=date(2013, 3, 1), column=f"column{i:02}", psi=i / 100) for i in range(30)
    )
    data = ReportData(title="t", subtitle="s", weeks=(), drift=cells, seconds=0)
    page = report_page(data)
    (drawing,) = _drawings(page)
    assert "column29" in drawing
    assert "column05" not in drawing
    assert "6 calmer columns are not shown" in page
    assert "4 of 30 cells are over the limit of 0.25" in page


def test_the_table_for_a_terminal_is_aligned(report_data: ReportData) -> None:
    lines = text_table(report_data).splitlines()
    assert re.split(r"  +", lines[0]) == [
        *("month", "rows", "late share", "AUC frozen", "AUC everloop"),
        *("loss frozen", "loss everloop"),
    ]
    assert len({len(line) for line in lines[:14]}) == 1
    assert [line[:7] for line in lines[2:12]] == [f"2013-{month:02}" for month in range(3, 13)]
    assert lines[13].startswith("all ")
    assert lines[15] == "11 retrains, 0 recalibrations, 9 promotions, 2 holds, 1 roll-back"
    assert lines[16] == "28,211 requests, 0 failed, p50 0.8 ms, p99 3.1 ms; 96 s in all"
    assert text_table(report_data).isascii()


def test_report_data_survives_json(report_data: ReportData) -> None:
    assert ReportData.model_validate_json(report_data.model_dump_json()) == report_data


def test_only_decisions_within_the_scored_weeks_are_marked(report_data: ReportData) -> None:
    def marks(data: ReportData) -> int:
        return _drawings(report_page(data))[0].count("var(--promote)")

    few = report_data.model_copy(update={"weeks": report_data.weeks[:6]})
    before = DecisionLine(time="2012-01-01T00:00:00+00:00", kind="promote", version=1)
    more = few.model_copy(update={"decisions": (before, *few.decisions)})
    assert marks(few) == marks(more) > 0
    none = few.model_copy(update={"decisions": (before,)})
    assert marks(none) == 0
