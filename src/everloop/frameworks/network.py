"""Embeddings of categories and a residual network, with PyTorch on the CPU.

Rows lie in memory as tensors and batches are gathered from them: a loader's workers cost more than
a step of a network this small. Letters of shapes: N rows, F numbers, C codes, K outputs.
"""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from everloop.frameworks.adamw import AdamW
from everloop.frameworks.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from everloop.frameworks.network_core import code_offsets, network_core
from everloop.frameworks.network_layers import Residual
from everloop.frameworks.protocol import Examples, FitJob, Raw
from everloop.rows.vectorised import Encoded
from everloop.spec.errors import DataError

_LAST_RATE: Final = 0.1
_LEAST_BATCH: Final = 32
_STEPS_OF_AN_EPOCH: Final = 64
_EVALUATION_ROWS: Final = 16_384


@dataclass(frozen=True)
class _Rows:
    """Rows as tensors."""

    numbers: Tensor
    places: Tensor
    target: Tensor

    def batch(self, rows: Tensor) -> "_Rows":
        return _Rows(self.numbers[rows], self.places[rows], self.target[rows])


@dataclass
class _Progress:
    """What early stopping knows."""

    num_epochs: int = 0
    best_epoch: int = -1
    best_loss: float = math.inf


class Network:
    """Fits a network; the same rows, settings and thread count give the same weights.

    All that is random in an epoch, the order of the rows and the dropout, is a function of seed and
    epoch, and a checkpoint after each epoch holds the rest, so that a killed training ends with the
    very weights of one that was not.
    """

    def fit(self, fit: Examples, tune: Examples, job: FitJob) -> "FittedNetwork":
        """Fit until the tune rows gain nothing for `patience` epochs; keep the best weights.

        Raises:
            DataError: If there is no column to learn from, or the loss is no number any more.
        """
        if not job.number_names and not job.code_sizes:
            raise DataError("train.features: no column is left to learn from")
        with _threads(job.spec.threads), torch.random.fork_rng(devices=[]):
            return _Training(fit, tune, job).run()


class _Training:
    def __init__(self, fit: Examples, tune: Examples, job: FitJob) -> None:
        torch.manual_seed(job.spec.seed)
        self.job = job
        self.shift, self.spread = _target_scale(fit, job)
        self.fit = self._rows(fit)
        self.tune = self._rows(tune)
        self.model = Residual(job)
        self.best = _copy(self.model)
        self.optimizer = AdamW(self.model.parameters(), weight_decay=job.spec.network.weight_decay)
        self.progress = _Progress()
        self.of = _fingerprint(fit, tune, job)

    def run(self) -> "FittedNetwork":
        spec = self.job.spec.network
        self._resume()
        while self.progress.num_epochs < spec.epochs and self._bad_epochs() < spec.patience:
            self._epoch()
            self._judge()
            self._save()
            self.job.progress("epochs", self.progress.num_epochs, spec.epochs)
        self.model.load_state_dict(self.best)
        with torch.no_grad():
            # Back to the label's own unit.
            self.model.last.weight.mul_(self.spread)
            self.model.last.bias.mul_(self.spread).add_(self.shift)
        return FittedNetwork(self.model, self.job)

    def _bad_epochs(self) -> int:
        return self.progress.num_epochs - 1 - self.progress.best_epoch

    def _epoch(self) -> None:
        self.model.train()
        epoch, num_rows = self.progress.num_epochs, len(self.fit.target)
        size = _batch_rows(num_rows, self.job)
        generator = np.random.default_rng([self.job.spec.seed, epoch])
        order = generator.permutation(num_rows)
        self.model.dropout.generator = generator
        batches = [torch.from_numpy(order[at : at + size]) for at in range(0, num_rows, size)]
        for i, rows in enumerate(batches):
            batch = self.fit.batch(rows)
            loss = self._loss(self.model(batch.numbers, batch.places), batch.target)
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
            self.optimizer.step(self._rate(epoch + i / len(batches)))

    def _rate(self, epochs_done: float) -> float:
        spec = self.job.spec.network
        share = 0.5 * (1 + math.cos(math.pi * epochs_done / spec.epochs))
        return spec.learning_rate * (_LAST_RATE + (1 - _LAST_RATE) * share)

    def _judge(self) -> None:
        raw = _outputs(self.model, self.tune.numbers, self.tune.places)
        loss = float(self._loss(raw, self.tune.target))
        if not math.isfinite(loss):
            raise DataError(
                "train.network: the loss on the tune rows is no number any more; lower "
                "train.network.learning_rate, or clip and scale the columns' numbers"
            )
        if loss < self.progress.best_loss:
            self.progress.best_loss, self.progress.best_epoch = loss, self.progress.num_epochs
            self.best = _copy(self.model)
        self.progress.num_epochs += 1

    def _loss(self, raw: Tensor, target: Tensor) -> Tensor:
        if self.job.task == "multiclass":
            return nn.functional.cross_entropy(raw, target)
        if self.job.task == "binary":
            return nn.functional.binary_cross_entropy_with_logits(raw[:, 0], target)
        return nn.functional.mse_loss(raw[:, 0], target)

    def _rows(self, examples: Examples) -> _Rows:
        numbers, places = _inputs(examples.encoded, self.job)
        if self.job.task == "multiclass":
            return _Rows(numbers, places, torch.from_numpy(examples.target.astype(np.int64)))
        scaled = (examples.target.astype(np.float64) - self.shift) / self.spread
        return _Rows(numbers, places, torch.from_numpy(scaled.astype(np.float32)))

    def _save(self) -> None:
        tensors = {f"model.{k}": v.detach().numpy() for k, v in self.model.state_dict().items()}
        tensors |= {f"best.{k}": v.numpy() for k, v in self.best.items()}
        tensors |= {f"optimizer.{k}": v.numpy() for k, v in self.optimizer.state().items()}
        notes = {"of": self.of, **vars(self.progress)}
        write_checkpoint(self.job.work, Checkpoint(tensors, notes))

    def _resume(self) -> None:
        found = read_checkpoint(self.job.work)
        if found is None or found.notes.get("of") != self.of:
            return
        tensors = {name: torch.from_numpy(value.copy()) for name, value in found.tensors.items()}
        self.model.load_state_dict(_under("model.", tensors))
        self.best = _under("best.", tensors)
        self.optimizer.load(_under("optimizer.", tensors))
        self.progress = _Progress(**{k: v for k, v in found.notes.items() if k != "of"})


class FittedNetwork:
    """A network with its best weights."""

    parity = 1e-4

    def __init__(self, model: Residual, job: FitJob) -> None:
        self._model = model
        self._job = job

    def raw(self, encoded: Encoded) -> Raw:
        """Return logits (N,), logits (N, K) or values (N,)."""
        with _threads(self._job.spec.threads):
            found = _outputs(self._model, *_inputs(encoded, self._job)).numpy().astype(np.float64)
        return found if self._job.task == "multiclass" else found[:, 0]

    def core(self) -> onnx.ModelProto:
        """Return the network as an ONNX graph."""
        weights = {k: v.detach().numpy() for k, v in self._model.state_dict().items()}
        return network_core(
            weights,
            num_numbers=len(self._job.number_names),
            code_sizes=self._job.code_sizes,
            num_blocks=self._job.spec.network.num_blocks,
        )


def _inputs(encoded: Encoded, job: FitJob) -> tuple[Tensor, Tensor]:
    places = encoded.codes + code_offsets(job.code_sizes)
    return torch.from_numpy(np.ascontiguousarray(encoded.numbers)), torch.from_numpy(places)


def _outputs(model: Residual, numbers: Tensor, places: Tensor) -> Tensor:
    model.eval()
    with torch.inference_mode():
        starts = range(0, max(len(numbers), 1), _EVALUATION_ROWS)
        pieces = [slice(start, start + _EVALUATION_ROWS) for start in starts]
        return torch.cat([model(numbers[piece], places[piece]) for piece in pieces])


def _batch_rows(num_rows: int, job: FitJob) -> int:
    # A small table in large batches is a handful of steps, too few to learn anything.
    return min(job.spec.network.batch_rows, max(_LEAST_BATCH, num_rows // _STEPS_OF_AN_EPOCH))


def _target_scale(fit: Examples, job: FitJob) -> tuple[float, float]:
    if job.task != "regression":
        return 0.0, 1.0
    return float(fit.target.mean()), float(fit.target.std()) or 1.0


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _fingerprint(fit: Examples, tune: Examples, job: FitJob) -> str:
    # Settings, thread count among them, and every value: another training's checkpoint is no use.
    digest = hashlib.sha256(f"{torch.__version__} {job.task} {job.num_classes}".encode())
    digest.update(f"{job.number_names} {job.code_sizes} {job.spec.model_dump_json()}".encode())
    arrays: list[Any] = [
        array
        for rows in (fit, tune)
        for array in (rows.encoded.numbers, rows.encoded.codes, rows.target)
    ]
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@contextmanager
def _threads(num_threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
