from collections.abc import Callable, Mapping

import pytest

from everloop.spec.errors import CorruptError, DataError
from everloop.spec.manifest import Manifest
from everloop.store.bundles import Bundle, Bundles, Draft
from everloop.store.objects import Objects

Reopen = Callable[[], Objects]


def draft(extra: Mapping[str, bytes] | None = None) -> Draft:
    manifest = Manifest(
        name="flights",
        task="binary",
        family="boosting",
        inputs=(),
        outputs=(),
        columns=(),
        project_digest="0" * 64,
        created_at="2026-01-01T00:00:00+00:00",
    )
    return Draft(manifest=manifest, files={"model.onnx": b"graph", **(extra or {})})


def write(objects: Objects) -> Bundle:
    return Bundles(objects).write(draft())


def test_a_bundle_is_read_as_it_was_written(objects: Objects, reopen: Reopen) -> None:
    written = Bundles(objects).write(draft())
    assert Bundles(reopen()).open(written.digest) == written
    assert [file.name for file in written.manifest.files] == ["model.onnx"]
    assert Bundles(reopen()).manifest(written.digest) == written.manifest
    assert Bundles(reopen()).list() == [written.digest]


def test_the_same_draft_is_the_same_bundle(objects: Objects) -> None:
    assert write(objects) == write(objects)
    assert len(Bundles(objects).list()) == 1


def test_a_deleted_bundle_is_gone(objects: Objects) -> None:
    digest = write(objects).digest
    Bundles(objects).delete(digest)
    assert Bundles(objects).list() == []
    with pytest.raises(KeyError):
        Bundles(objects).open(digest)
    assert objects.list("bundles") == []


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_a_changed_byte_is_found_before_anything_is_parsed(objects: Objects, name: str) -> None:
    path = f"bundles/{write(objects).digest}/{name}"
    data = bytearray(objects.get(path))
    data[len(data) // 2] ^= 1
    objects.put(path, bytes(data))
    with pytest.raises(CorruptError, match=f"{name}: its sha256 is"):
        Bundles(objects).open(path.split("/")[1])


def test_a_missing_and_an_extra_file_are_refused(objects: Objects) -> None:
    digest = write(objects).digest
    objects.put(f"bundles/{digest}/extra.py", b"")
    with pytest.raises(CorruptError, match=r"extra\.py is not in the manifest"):
        Bundles(objects).open(digest)
    objects.delete([f"bundles/{digest}/extra.py", f"bundles/{digest}/model.onnx"])
    with pytest.raises(CorruptError, match=r"model\.onnx is missing"):
        Bundles(objects).open(digest)


def test_a_bundle_under_another_name_is_refused(objects: Objects) -> None:
    digest = write(objects).digest
    for name in ("model.onnx", "manifest.json"):
        objects.put(f"bundles/{'0' * 64}/{name}", objects.get(f"bundles/{digest}/{name}"))
    with pytest.raises(CorruptError, match="its sha256 is"):
        Bundles(objects).open("0" * 64)


def test_an_interrupted_write_is_never_seen(objects: Objects) -> None:
    objects.put(f"bundles/{'1' * 64}/model.onnx", b"half")
    assert Bundles(objects).list() == []
    with pytest.raises(KeyError):
        Bundles(objects).open("1" * 64)


def test_a_manifest_of_a_newer_format_says_so(objects: Objects) -> None:
    newer = draft()
    manifest = newer.manifest.model_copy(update={"format": 99})
    written = Bundles(objects).write(Draft(manifest=manifest, files=newer.files))
    with pytest.raises(DataError, match="format 99"):
        Bundles(objects).open(written.digest)


@pytest.mark.parametrize("name", ["../up", "manifest.json", ".hidden", "A", "a/b", ""])
def test_a_file_name_that_could_leave_the_bundle_is_refused(objects: Objects, name: str) -> None:
    with pytest.raises(ValueError, match="bundle file"):
        Bundles(objects).write(draft({name: b""}))


@pytest.mark.parametrize("digest", ["", "..", "0" * 63, "G" * 64, "../" + "0" * 61])
def test_a_digest_that_is_none_is_refused(objects: Objects, digest: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        Bundles(objects).open(digest)
