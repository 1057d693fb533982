"""Boosted trees as one ONNX operator, exact to the last bit of every split.

LightGBM compares in float64. The inputs are float32 numbers, which float64 holds exactly, so the
operator runs in float64 too: every split falls as LightGBM's does, and the leaves add up without
the drift of a float32 sum. It costs nothing measurable over float32.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, nan, nextafter
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from everloop.rows.graph import make_model
from everloop.rows.nodes import Nodes

_LEQ, _MEMBER = 0, 6
_SUM, _NO_TRANSFORM = 1, 0
_ZERO = float(np.float32(1e-35))

Child = tuple[int, int]  # place among the nodes or the leaves, and 1 for a leaf


@dataclass
class _Forest:
    """The attributes of ai.onnx.ml TreeEnsemble 5 in the making."""

    num_targets: int
    roots: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    modes: list[int] = field(default_factory=list)
    splits: list[float] = field(default_factory=list)
    missing_is_true: list[int] = field(default_factory=list)
    true: list[Child] = field(default_factory=list)
    false: list[Child] = field(default_factory=list)
    members: list[float] = field(default_factory=list)
    leaf_targets: list[int] = field(default_factory=list)
    leaf_weights: list[float] = field(default_factory=list)

    def add_tree(self, tree: Mapping[str, Any], target: int) -> None:
        if "split_index" in tree:
            self.roots.append(self._add(tree, target)[0])
            return
        # A tree of one leaf: the operator wants a node, so both branches of one lead to the leaf.
        leaf = self._leaf(tree, target)
        place = self._node(0, _LEQ, 0.0, missing_is_true=True)
        self.true[place] = self.false[place] = leaf
        self.roots.append(place)

    def _add(self, tree: Mapping[str, Any], target: int) -> Child:
        if "split_index" not in tree:
            return self._leaf(tree, target)
        place = self._branch(tree)
        self.true[place] = self._add(tree["left_child"], target)
        self.false[place] = self._add(tree["right_child"], target)
        return place, 0

    def _branch(self, tree: Mapping[str, Any]) -> int:
        if tree["decision_type"] == "==":
            self.members += [*map(float, tree["threshold"].split("||")), nan]
            return self._node(tree["split_feature"], _MEMBER, 0.0, missing_is_true=False)
        # A column without nulls among the rows of the fit has no branch for them: LightGBM then
        # takes a null for 0.
        missing_is_true = (
            tree["default_left"] if tree["missing_type"] == "NaN" else tree["threshold"] >= 0
        )
        return self._node(
            tree["split_feature"], _LEQ, _split(tree["threshold"]), missing_is_true=missing_is_true
        )

    def _node(self, feature: int, mode: int, split: float, *, missing_is_true: bool) -> int:
        self.features.append(feature)
        self.modes.append(mode)
        self.splits.append(split)
        self.missing_is_true.append(int(missing_is_true))
        self.true.append((0, 0))
        self.false.append((0, 0))
        return len(self.features) - 1

    def _leaf(self, tree: Mapping[str, Any], target: int) -> Child:
        self.leaf_targets.append(target)
        self.leaf_weights.append(tree["leaf_value"])
        return len(self.leaf_weights) - 1, 1

    def attributes(self) -> dict[str, Any]:
        found = {
            "n_targets": self.num_targets,
            "aggregate_function": _SUM,
            "post_transform": _NO_TRANSFORM,
            "tree_roots": self.roots,
            "nodes_featureids": self.features,
            "nodes_modes": helper.make_tensor(
                "modes", TensorProto.UINT8, [len(self.modes)], self.modes
            ),
            "nodes_splits": _doubles("splits", self.splits),
            "nodes_missing_value_tracks_true": self.missing_is_true,
            "nodes_truenodeids": [place for place, _ in self.true],
            "nodes_trueleafs": [is_leaf for _, is_leaf in self.true],
            "nodes_falsenodeids": [place for place, _ in self.false],
            "nodes_falseleafs": [is_leaf for _, is_leaf in self.false],
            "leaf_targetids": self.leaf_targets,
            "leaf_weights": _doubles("weights", self.leaf_weights),
        }
        if self.members:
            found["membership_values"] = _doubles("members", self.members)
        return found


def trees_core(
    trees: Sequence[Mapping[str, Any]], *, num_numbers: int, num_codes: int, num_targets: int
) -> onnx.ModelProto:
    """Write trees as a core.

    Args:
        trees: The ``tree_structure`` of each tree of LightGBM's ``dump_model()``; tree i adds to
            target i modulo num_targets.
        num_numbers: The trees' first features.
        num_codes: The trees' last features, as numbers.
        num_targets: 1, or the number of classes.
    """
    forest = _Forest(num_targets)
    for i, tree in enumerate(trees):
        forest.add_tree(tree, i % num_targets)
    nodes = Nodes("trees")
    wide = _wide_input(nodes, num_numbers=num_numbers, num_codes=num_codes)
    total = nodes.add("TreeEnsemble", [wide], domain="ai.onnx.ml", **forest.attributes())
    if num_targets == 1:
        total = nodes.add("Reshape", [total, nodes.constant(np.array([-1]))])
    nodes.add("Cast", [total], output="raw", to=TensorProto.FLOAT)
    return core_model(nodes, num_numbers=num_numbers, num_codes=num_codes, num_targets=num_targets)


def core_model(
    nodes: Nodes, *, num_numbers: int, num_codes: int, num_targets: int
) -> onnx.ModelProto:
    """Close a core's graph: ``numbers`` and ``codes``, those that exist, to ``raw``."""
    inputs = []
    if num_numbers:
        inputs.append(
            helper.make_tensor_value_info("numbers", TensorProto.FLOAT, ["N", num_numbers])
        )
    if num_codes:
        inputs.append(helper.make_tensor_value_info("codes", TensorProto.INT64, ["N", num_codes]))
    shape: list[str | int] = ["N"] if num_targets == 1 else ["N", num_targets]
    output = helper.make_tensor_value_info("raw", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes.nodes, "core", inputs, [output], nodes.initializers)
    return make_model(graph)


def _split(threshold: float) -> float:
    # LightGBM takes every number this close to 0 for 0 before it compares.
    if -_ZERO <= threshold < 0:
        return nextafter(-_ZERO, -inf)
    return _ZERO if 0 <= threshold < _ZERO else threshold


def _wide_input(nodes: Nodes, *, num_numbers: int, num_codes: int) -> str:
    parts = []
    if num_numbers:
        parts.append(nodes.add("Cast", ["numbers"], to=TensorProto.DOUBLE))
    if num_codes:
        parts.append(nodes.add("Cast", ["codes"], to=TensorProto.DOUBLE))
    return nodes.add("Concat", parts, axis=1) if len(parts) > 1 else parts[0]


def _doubles(name: str, values: Sequence[float]) -> onnx.TensorProto:
    return helper.make_tensor(
        name, TensorProto.DOUBLE, [len(values)], np.asarray(values, np.float64).tobytes(), raw=True
    )
