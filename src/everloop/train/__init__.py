"""Clean rows in, model and manifest out."""

from everloop.train.recalibrate import RecalibrateJob, recalibrate
from everloop.train.splits import Splits, split
from everloop.train.train import TrainJob, project_digest, train

__all__ = [
    "RecalibrateJob",
    "Splits",
    "TrainJob",
    "project_digest",
    "recalibrate",
    "split",
    "train",
]
