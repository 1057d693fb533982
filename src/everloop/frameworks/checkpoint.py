"""Checkpoints of a training: tensors and a few integers in one safetensors file, never a pickle.

A file is written beside its place, synced and moved there, so that a kill leaves the old one or
the new one and never half of one.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

FILE: Final = "checkpoint.safetensors"
_NOTES: Final = "everloop"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after an epoch.

    Attributes:
        tensors: Weights and optimiser.
        notes: Counters, scores and what the training was of; JSON.
    """

    tensors: Mapping[str, npt.NDArray[Any]]
    notes: Mapping[str, Any]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Put a checkpoint in a folder, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{FILE}.partial"
    # The copy's shape is given back: numpy makes a vector of a single number.
    tensors = {k: np.ascontiguousarray(v).reshape(v.shape) for k, v in checkpoint.tensors.items()}
    save_file(tensors, partial, metadata={_NOTES: json.dumps(checkpoint.notes)})
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(folder / FILE)
    _sync_folder(folder)


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """Read a folder's checkpoint; None if there is none, or one that cannot be read."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            notes = json.loads((file.metadata() or {})[_NOTES])
    except (SafetensorError, KeyError, ValueError):
        return None
    return Checkpoint(tensors, notes)


def _sync_folder(folder: Path) -> None:
    # Without this a power cut may undo the move; Windows cannot open a folder and needs no sync.
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
