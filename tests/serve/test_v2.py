import json
from typing import Any

from everloop.serve.records import predict_answer
from everloop.serve.v2 import AnswerHead
from everloop.spec.manifest import Manifest, Tensor


def multiclass(manifest: Manifest) -> Manifest:
    output = Tensor(name="probabilities", datatype="FP32", shape=(-1, 3))
    changes = {"outputs": (output,), "task": "multiclass", "classes": ("a", "b", "c")}
    return manifest.model_copy(update=changes)


def test_probabilities_are_answered_row_by_row_in_one_flat_list(app: Any) -> None:
    head = AnswerHead(multiclass(app.app.model.manifest), 3)
    answer = json.loads(head.infer('a"b', [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]))
    assert answer["id"] == 'a"b'
    assert answer["model_version"] == "3"
    assert answer["outputs"] == [
        {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": [2, 3],
            "data": [0.2, 0.3, 0.5, 1.0, 0.0, 0.0],
        }
    ]


def test_rows_get_their_classes_beside_the_probabilities(app: Any) -> None:
    manifest = multiclass(app.app.model.manifest)
    answer = json.loads(predict_answer(manifest, 3, "q", [[0.2, 0.3, 0.5]]))
    assert answer == {
        "id": "q",
        "model_version": "3",
        "classes": ["a", "b", "c"],
        "predictions": [[0.2, 0.3, 0.5]],
    }
