"""AdamW by PyTorch's fused kernel, without the optimiser class around it.

Making a `torch.optim` optimiser imports PyTorch's compiler, which takes 1.4 s and is not used here.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import torch
from torch import Tensor
from torch.optim.adamw import adamw

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8
_STATE: Final = ("mean", "square", "step")


class AdamW:
    """Decoupled weight decay with Adam's steps.

    Source:
        Loshchilov and Hutter, Decoupled weight decay regularization (2019).
    """

    def __init__(self, weights: Iterable[Tensor], *, weight_decay: float) -> None:
        self._weights = list(weights)
        self._weight_decay = weight_decay
        self._state: dict[str, list[Tensor]] = {
            "mean": [torch.zeros_like(weight) for weight in self._weights],
            "square": [torch.zeros_like(weight) for weight in self._weights],
            "step": [torch.tensor(0.0) for _ in self._weights],
        }

    def step(self, rate: float) -> None:
        """Move the weights down their gradients, and forget these."""
        with torch.no_grad():
            adamw(
                self._weights,
                [_gradient(weight) for weight in self._weights],
                self._state["mean"],
                self._state["square"],
                [],
                self._state["step"],
                fused=True,
                amsgrad=False,
                beta1=_BETA1,
                beta2=_BETA2,
                lr=rate,
                weight_decay=self._weight_decay,
                eps=_EPSILON,
                maximize=False,
            )
        for weight in self._weights:
            weight.grad = None

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold."""
        return {f"{name}.{i}": t for name in _STATE for i, t in enumerate(self._state[name])}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        for name in _STATE:
            for i, tensor in enumerate(self._state[name]):
                tensor.copy_(state[f"{name}.{i}"])


def _gradient(weight: Tensor) -> Tensor:
    # An embedding that no column uses has none.
    return torch.zeros_like(weight) if weight.grad is None else weight.grad
