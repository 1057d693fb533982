"""PyTorch, LightGBM and ONNX Runtime behind one protocol.

A family is imported on first use: boosting never loads torch, a network never loads LightGBM.
"""

from collections.abc import Mapping
from typing import Final

FAMILIES: Final[Mapping[str, str]] = {
    "boosting": "everloop.frameworks.boosting:Boosting",
    "network": "everloop.frameworks.network:Network",
}
"""`train.model` to the class that fits it; `everloop.frameworks.protocol` says what it can do."""
