from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from everloop.frameworks.scoring import score_frame
from everloop.loop.challenger import Making
from everloop.loop.cut import Cut
from everloop.loop.dataset import cut_now
from everloop.spec.errors import DataError
from everloop.testing import add_rows, make_rows
from tests.loop.conftest import Small

RECALIBRATE: dict[str, Any] = {"retrain": {"recalibrate_prior_rows": 10.0}}


def making(small: Small, **options: Any) -> Making:
    return Making(small.ws, cut_now(small.ws), **options)


@pytest.fixture
def cleaned(tmp_path: Path) -> Small:
    small = Small(tmp_path / "small", settings=RECALIBRATE)
    small.run("validate")
    return small


def test_each_stage_is_done_once_for_the_same_rows(cleaned: Small) -> None:
    first, again = making(cleaned), making(cleaned)
    bundle = first.compressed(first.trained())
    verdict = first.judged(bundle, None)
    assert verdict.objections == ()
    assert any("gain over a constant predictor" in text for text in verdict.summary)
    assert again.compressed(again.trained()) == bundle
    assert again.judged(bundle, None) == verdict
    assert [is_new for _, is_new in first.runs] == [True, True, True]
    assert [is_new for _, is_new in again.runs] == [False, False, False]


def test_what_was_made_before_is_known_until_rows_or_settings_change(cleaned: Small) -> None:
    assert making(cleaned).known() is None
    one = making(cleaned)
    trained = one.trained()
    assert making(cleaned).known() is None, "not compressed yet"
    bundle = one.compressed(trained)
    assert making(cleaned).known() == bundle
    text = (cleaned.folder / "everloop.toml").read_text()
    (cleaned.folder / "everloop.toml").write_text(text.replace("num_trees = 20", "num_trees = 21"))
    cleaned.reopen()
    assert making(cleaned).known() is None
    (cleaned.folder / "everloop.toml").write_text(text)
    cleaned.reopen()
    assert making(cleaned).known() == bundle
    add_rows(cleaned.folder, make_rows(5, first=2000))
    cleaned.run("validate")
    assert making(cleaned).known() is None
    cleaned.ws.bundles.delete(bundle)
    assert Making(cleaned.ws, Cut({"clean/main": 0})).known() is None


def test_a_setting_of_serving_makes_no_new_model(cleaned: Small) -> None:
    one = making(cleaned)
    bundle = one.compressed(one.trained())
    text = (cleaned.folder / "everloop.toml").read_text()
    (cleaned.folder / "everloop.toml").write_text(text.replace("[serve]", "[serve]\nthreads = 2"))
    cleaned.reopen()
    assert cleaned.ws.project.serve.threads == 2
    assert making(cleaned).known() == bundle


def test_the_worse_of_two_is_objected_to(cleaned: Small, upside_down: Small) -> None:
    one = making(cleaned)
    bundle = one.trained()
    cleaned.add_version(upside_down)
    worse = cleaned.ws.registry.version(1).bundle
    verdict = one.judged(worse, bundle)
    assert any("gate.min_gain" in text for text in verdict.objections)
    assert one.judged(bundle, worse).objections == ()


def test_a_recalibration_moves_the_level_on_newer_rows_alone(cleaned: Small) -> None:
    champion = making(cleaned).trained()
    fit = cleaned.ws.bundles.manifest(champion).splits["fit"]
    # More of the later rows are positive than the model would say.
    rows = make_rows(1500, first=2000)
    add_rows(cleaned.folder, rows.with_columns(pl.col("label") | (pl.col("colour") == "red")))
    cleaned.run("validate")
    one = making(cleaned, since=datetime.fromisoformat(fit.last))
    bundle = cleaned.ws.bundles.open(one.recalibrated(champion))
    old = cleaned.ws.bundles.open(champion)
    assert bundle.manifest.calibration != old.manifest.calibration
    assert score_frame(bundle, rows).mean() > score_frame(old, rows).mean() + 0.02
    assert one.recalibrated(champion) == bundle.digest
    assert [run.stage for run, _ in one.runs] == ["recalibrate", "recalibrate"]


def test_a_manifest_says_which_rows_made_the_model(cleaned: Small) -> None:
    manifest = cleaned.ws.bundles.manifest(making(cleaned).trained())
    assert [(d.table, d.version) for d in manifest.data] == [("clean/main", 0)]
    assert manifest.stream_time is not None
    assert datetime.fromisoformat(manifest.stream_time) == make_rows(2000)["at"].max()
    assert manifest.splits["gate"].num_rows == 300


def test_columns_for_an_older_model_are_not_learned_from(cleaned: Small) -> None:
    plain = cleaned.ws.bundles.manifest(making(cleaned).trained())
    cleaned.ws.bundles.delete(making(cleaned).trained())
    more = cleaned.ws.bundles.manifest(making(cleaned, also=["id", "at"]).trained())
    digests = [{f.name: f.sha256 for f in m.files}["model.onnx"] for m in (plain, more)]
    assert digests[0] == digests[1]


def test_rows_that_cannot_be_learned_from_are_an_error_that_says_why(tmp_path: Path) -> None:
    small = Small(tmp_path, num_rows=3)
    small.run("validate")
    with pytest.raises(DataError, match=r"train\.split"):
        making(small).trained()
    (run,) = small.ws.ledger.runs()
    assert run.outcome == "failed"
