"""The network's layers. Letters of shapes: N rows, F numbers, C codes, W width, K outputs."""

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from everloop.frameworks.protocol import FitJob

_MAX_EMBEDDING: Final = 16


class Dropout(nn.Module):
    """Zeroes a share of its input in training, by bytes of a generator that each epoch starts anew.

    One random byte a number takes a fifth of the time of PyTorch's own draw, which was a fifth of
    a whole step, and leaves no generator's state to be saved. The share is a multiple of 1/256.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self._limit = min(255, round(share * 256))
        self.generator = np.random.default_rng()

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        if not self.training or self._limit == 0:
            return x
        drawn = np.frombuffer(self.generator.bytes(x.numel()), np.uint8) >= self._limit
        kept = torch.from_numpy(drawn.astype(np.float32)).mul_(256 / (256 - self._limit))
        return x * kept.view(x.shape)


class Block(nn.Module):
    """A residual block without normalisation, so that nothing of it depends on the batch."""

    def __init__(self, width: int, dropout: Dropout) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        self.dropout = dropout
        # A block that starts as the identity trains as well as a normalised one.
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, W) to (N, W)."""
        found: Tensor = x + self.outer(self.dropout(torch.relu(self.inner(x))))
        return found


class Residual(nn.Module):
    """Embeddings beside numbers, a layer, residual blocks, a layer."""

    def __init__(self, job: FitJob) -> None:
        super().__init__()
        spec, sizes = job.spec.network, job.code_sizes
        size = min(_MAX_EMBEDDING, max(2, math.ceil(max(sizes, default=1) ** 0.5)))
        self.embedding = nn.Embedding(max(1, sum(sizes)), size)
        num_inputs = len(job.number_names) + len(sizes) * size
        self.first = nn.Linear(num_inputs, spec.width)
        self.dropout = Dropout(spec.dropout)
        self.blocks = nn.ModuleList(Block(spec.width, self.dropout) for _ in range(spec.num_blocks))
        self.last = nn.Linear(spec.width, job.num_classes if job.task == "multiclass" else 1)

    def forward(self, numbers: Tensor, places: Tensor) -> Tensor:
        """Numbers (N, F) and rows of the table of embeddings (N, C) to (N, K)."""
        x = torch.cat([numbers, self.embedding(places).flatten(1)], dim=1)
        x = torch.relu(self.first(x))
        for block in self.blocks:
            x = block(x)
        found: Tensor = self.last(x)
        return found
