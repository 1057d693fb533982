from pathlib import Path

import pytest

from everloop.registry.versions import Registry
from everloop.spec.errors import ConflictError, CorruptError
from everloop.spec.project import StoreSpec
from everloop.store.log import Log
from everloop.store.objects import Objects

A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects.open(StoreSpec(url="state"), tmp_path)


@pytest.fixture
def registry(objects: Objects) -> Registry:
    return Registry(objects, "flights")


def test_versions_are_numbered_from_one_and_keep_their_note(
    registry: Registry, objects: Objects
) -> None:
    first, second = registry.register(A, note="first"), registry.register(B)
    assert (first.number, second.number, first.note) == (1, 2, "first")
    assert first.created_at.endswith("+00:00")
    assert Registry(objects, "flights").versions() == [first, second]
    assert registry.version(2) == second
    assert Registry(objects, "other").versions() == []


def test_a_bundle_registered_twice_keeps_its_version(registry: Registry, objects: Objects) -> None:
    first = registry.register(A, note="first")
    registry.register(B)
    assert registry.register(A, note="again") == first
    assert Registry(objects, "flights").register(A) == first
    assert len(registry.versions()) == 2


@pytest.mark.parametrize("number", [-1, 0, 2])
def test_an_unknown_version_is_a_key_error(registry: Registry, number: int) -> None:
    registry.register(A)
    with pytest.raises(KeyError, match=f"no version {number}; the newest is 1"):
        registry.version(number)
    with pytest.raises(KeyError, match=f"no version {number}"):
        registry.move({"champion": number}, reason="x")
    assert registry.moves() == []


@pytest.mark.parametrize("bundle", ["", "model.onnx", "A" * 64, "../" + "0" * 61, "a" * 64 + "\n"])
def test_what_is_no_bundle_is_not_registered(registry: Registry, bundle: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        registry.register(bundle)


def test_aliases_move_together_and_leave(registry: Registry, objects: Objects) -> None:
    registry.register(A)
    registry.register(B)
    assert registry.move({"champion": 1, "challenger": 2}, reason="first") == 1
    assert registry.move({"champion": 2, "challenger": None}, reason="promote") == 2
    other = Registry(objects, "flights")
    assert other.aliases() == {"champion": 2}
    assert [(move.number, dict(move.aliases), move.reason) for move in other.moves()] == [
        (1, {"champion": 1, "challenger": 2}, "first"),
        (2, {"champion": 2, "challenger": None}, "promote"),
    ]


def test_a_move_that_knows_an_older_state_conflicts(registry: Registry, objects: Objects) -> None:
    registry.register(A)
    assert registry.move({"champion": 1}, reason="first", expect=0) == 1
    with pytest.raises(ConflictError, match="the last entry is 1, expected 0"):
        Registry(objects, "flights").move({"champion": 1}, reason="second", expect=0)
    assert len(registry.moves()) == 1


@pytest.mark.parametrize("alias", ["champion", "v1x", "V1", "shadow-2", "x" * 255, "1"])
def test_usual_aliases_are_taken(registry: Registry, alias: str) -> None:
    registry.register(A)
    registry.move({alias: 1}, reason="x")
    assert registry.aliases() == {alias: 1}


@pytest.mark.parametrize(
    "alias", ["", "latest", "LATEST", "v1", "v007", "a b", "a/b", "a.b", "x" * 256, "a\n", "é"]
)
def test_reserved_and_odd_aliases_are_refused(registry: Registry, alias: str) -> None:
    registry.register(A)
    with pytest.raises(ValueError, match="expected letters, digits"):
        registry.move({"champion": 1, alias: 1}, reason="x")
    assert registry.aliases() == {}


def test_a_move_of_nothing_is_refused(registry: Registry) -> None:
    with pytest.raises(ValueError, match="no alias to move"):
        registry.move({}, reason="x")


def test_a_changed_history_is_found(registry: Registry, objects: Objects) -> None:
    for bundle in (A, B, C):
        registry.register(bundle)
    path = "registry/flights/versions/00000001.json"
    objects.put(path, objects.get(path).replace(b"aaaa", b"abaa", 1))
    with pytest.raises(CorruptError, match="one of the two was changed"):
        Registry(objects, "flights").versions()


def test_a_record_without_its_parts_is_corrupt(registry: Registry, objects: Objects) -> None:
    Log(objects, "registry/flights/versions").append({"note": "x"})
    with pytest.raises(CorruptError, match="'bundle' is missing"):
        registry.versions()
    Log(objects, "registry/flights/aliases").append({})
    with pytest.raises(CorruptError, match="'aliases' is missing"):
        registry.moves()


@pytest.mark.parametrize("model", ["../x", "", ".x", "a b"])
def test_a_models_name_cannot_leave_the_store(objects: Objects, model: str) -> None:
    with pytest.raises(ValueError, match="expected names"):
        Registry(objects, model).register(A)
