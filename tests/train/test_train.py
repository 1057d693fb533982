import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest

from everloop.frameworks.scoring import score_frame
from everloop.measure.metrics import metric
from everloop.measure.profile import Profile
from everloop.rows.labels import label_codes
from everloop.spec.errors import DataError
from everloop.spec.manifest import DataVersion
from everloop.spec.project import Project, StoreSpec
from everloop.store.bundles import Bundle, Bundles, Draft
from everloop.store.objects import Objects
from everloop.train import RecalibrateJob, Splits, TrainJob, recalibrate, split, train

NOW = datetime(2021, 1, 1, tzinfo=UTC)


def project(model: str = "boosting", *, prior_rows: int = 10, **train: Any) -> Project:
    return Project.model_validate(
        {
            "project": {"name": "people"},
            "sources": [{"path": "x", "time": "at", "key": ["id"], "label": "y"}],
            "train": {
                "model": model,
                "boosting": {"num_trees": 40},
                "network": {"width": 16, "epochs": 4},
                **train,
            },
            "retrain": {"recalibrate_prior_rows": prior_rows},
        }
    )


def rows(task: str = "binary", num_rows: int = 1500) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    age, city = rng.normal(40, 10, num_rows), rng.choice(["rome", "oslo", "lima"], num_rows)
    score = (age - 40) / 10 + (city == "oslo") + rng.normal(size=num_rows) / 2
    label: Any = {
        "binary": lambda: score > 0,
        "multiclass": lambda: np.array(["low", "mid", "high"])[np.digitize(score, [-0.5, 0.8])],
        "regression": lambda: score * 12.5,
    }[task]()
    return pl.DataFrame(
        {
            "id": range(num_rows),
            "at": [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=i) for i in range(num_rows)],
            "age": np.where(rng.random(num_rows) < 0.1, np.nan, age),
            "city": city,
            "nothing": pl.Series([None] * num_rows, dtype=pl.Float64),
            "_label": label,
        }
    )


def job(work: Path) -> TrainJob:
    data = (DataVersion(table="clean/main", version=3),)
    return TrainJob(work=work, created_at=NOW, data=data, stream_time=NOW - timedelta(days=1))


def made(
    work: Path, task: str = "binary", model: str = "boosting", **spec: Any
) -> tuple[Draft, Splits]:
    splits = split(rows(task), project(model, **spec))
    return train(splits, project(model, **spec), job(work)), splits


def written(draft: Draft) -> Bundle:
    return Bundle(digest="ab" * 32, manifest=draft.manifest, files=draft.files)


@pytest.mark.parametrize("model", ["boosting", "network"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_bundle_scores_rows_well_and_as_its_manifest_says(
    task: str, model: str, tmp_path: Path
) -> None:
    draft, splits = made(tmp_path, task, model)
    manifest = draft.manifest
    onnx.checker.check_model(onnx.load_model_from_string(draft.files["model.onnx"]))
    answer = score_frame(written(draft), splits.select)
    target = label_codes(splits.select["_label"], manifest.task, manifest.classes)
    name = "rmse" if task == "regression" else "log_loss"
    assert metric(name, target, answer) == pytest.approx(
        manifest.metrics[f"select.{name}"], rel=1e-3
    )
    constant = {"binary": 0.69, "multiclass": 1.09, "regression": float(np.std(target))}[task]
    assert manifest.metrics[f"select.{name}"] < 0.9 * constant
    assert manifest.task == task
    assert [t.name for t in manifest.inputs] == ["age", "city", "nothing"]


def test_the_manifest_says_what_made_it(tmp_path: Path) -> None:
    draft, splits = made(tmp_path, seed=7)
    manifest = draft.manifest
    assert manifest.created_at == "2021-01-01T00:00:00+00:00"
    assert manifest.stream_time == "2020-12-31T00:00:00+00:00"
    assert manifest.data == (DataVersion(table="clean/main", version=3),)
    assert manifest.splits == dict(splits.ranges)
    assert (manifest.classes, manifest.seed, manifest.family) == (("0", "1"), 7, "boosting")
    assert (manifest.logged, manifest.time_column) == (("at", "id"), "at")
    assert manifest.outputs[0].name == "probability"
    assert {"everloop", "lightgbm", "onnxruntime", "polars"} <= manifest.versions.keys()
    assert len(manifest.project_digest) == 64


def test_the_profile_is_of_the_inputs_and_of_what_the_model_says(tmp_path: Path) -> None:
    draft, splits = made(tmp_path)
    profile = Profile.model_validate(json.loads(draft.files["profile.json"]))
    assert profile.num_rows == splits.fit.height
    assert set(profile.columns) == {"age", "city", "nothing", "probability"}
    draft, _ = made(tmp_path, "multiclass")
    profile = Profile.model_validate(json.loads(draft.files["profile.json"]))
    assert profile.columns["probabilities"].kind == "category"


def test_the_same_rows_and_seed_make_the_same_bytes(tmp_path: Path) -> None:
    for model in ("boosting", "network"):
        first, _ = made(tmp_path / f"{model}1", model=model)
        second, _ = made(tmp_path / f"{model}2", model=model)
        assert first == second


def test_a_draft_survives_the_store(tmp_path: Path) -> None:
    draft, splits = made(tmp_path)
    bundles = Bundles(Objects.open(StoreSpec(url="store"), tmp_path))
    opened = bundles.open(bundles.write(draft).digest)
    np.testing.assert_array_equal(
        score_frame(opened, splits.gate), score_frame(written(draft), splits.gate)
    )


def test_a_category_never_seen_is_scored_as_an_unknown_one(tmp_path: Path) -> None:
    draft, splits = made(tmp_path)
    unknown = splits.select.with_columns(city=pl.lit("atlantis"))
    null = splits.select.with_columns(city=pl.lit(None, dtype=pl.String))
    np.testing.assert_array_equal(
        score_frame(written(draft), unknown), score_frame(written(draft), null)
    )


def test_calibration_can_be_left_out(tmp_path: Path) -> None:
    draft, _ = made(tmp_path, calibrate=False)
    assert (draft.manifest.calibration.slope, draft.manifest.calibration.bias) == (1, 0)


def test_no_feature_and_an_infinite_label_are_refused(tmp_path: Path) -> None:
    frame = rows().select("id", "at", "_label")
    with pytest.raises(DataError, match=r"train\.features: no column is left"):
        train(split(frame, project()), project(), job(tmp_path))
    frame = rows("regression").with_columns(
        _label=pl.when(pl.col("id") == 5).then(np.inf).otherwise(pl.col("_label"))
    )
    with pytest.raises(DataError, match="found infinite numbers"):
        train(split(frame, project()), project(), job(tmp_path))


def test_a_recalibration_changes_two_numbers_and_what_is_said_with_them(tmp_path: Path) -> None:
    draft, splits = made(tmp_path)
    bundle = written(draft)
    shifted = splits.gate.with_columns(_label=pl.lit(value=True) & (pl.col("id") % 4 != 0))
    again = recalibrate(bundle, shifted, project(), RecalibrateJob(created_at=NOW))
    before, after = (
        onnx.load_model_from_string(files["model.onnx"]) for files in (draft.files, again.files)
    )
    changed = [
        one.name
        for one, other in zip(before.graph.initializer, after.graph.initializer, strict=True)
        if one != other
    ]
    assert before.graph.node == after.graph.node
    assert changed == ["tail/slope", "tail/bias"]
    found = again.manifest
    assert found.parents == (bundle.digest,)
    assert found.splits["recalibrate"].num_rows == splits.gate.height
    assert found.metrics["recalibrate.log_loss"] < found.metrics["recalibrate.log_loss_before"]
    assert again.files["profile.json"] == draft.files["profile.json"]
    answer = score_frame(written(again), shifted)
    assert answer.mean() == pytest.approx(0.75, abs=0.02)
    assert metric("log_loss", shifted["_label"].cast(pl.Int64).to_numpy(), answer) == pytest.approx(
        found.metrics["recalibrate.log_loss"], rel=1e-4
    )


def test_a_strong_prior_keeps_a_recalibration_from_doing_anything(tmp_path: Path) -> None:
    draft, splits = made(tmp_path)
    spec = project(prior_rows=10**9)
    found = recalibrate(written(draft), splits.gate, spec, RecalibrateJob(created_at=NOW)).manifest
    assert found.calibration.slope == pytest.approx(1, abs=1e-3)
    assert found.calibration.bias == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_recalibration_works_for_every_task(task: str, tmp_path: Path) -> None:
    draft, splits = made(tmp_path, task)
    job = RecalibrateJob(created_at=NOW)
    again = recalibrate(written(draft), splits.gate, project(), job)
    name = "rmse" if task == "regression" else "log_loss"
    metrics = again.manifest.metrics
    assert metrics[f"recalibrate.{name}"] <= metrics[f"recalibrate.{name}_before"] + 1e-9


def test_a_recalibration_needs_rows_of_both_classes(tmp_path: Path) -> None:
    draft, splits = made(tmp_path)
    job = RecalibrateJob(created_at=NOW)
    with pytest.raises(DataError, match="expected 20 at least"):
        recalibrate(written(draft), splits.gate.head(5), project(), job)
    one_class = splits.gate.with_columns(_label=True)
    with pytest.raises(DataError, match="have the label '1', expected two classes"):
        recalibrate(written(draft), one_class, project(), job)
