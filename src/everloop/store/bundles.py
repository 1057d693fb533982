"""Bundles: a model's files below their manifest's digest, verified before anything is parsed."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from everloop.spec.errors import CorruptError, DataError
from everloop.spec.manifest import MANIFEST_FORMAT, FileDigest, Manifest
from everloop.store.objects import Objects

MAX_MANIFEST_BYTES = 16 << 20
MAX_FILE_BYTES = 2 << 30
MANIFEST = "manifest.json"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A bundle that is not written yet.

    Attributes:
        manifest: Its `files` are filled in when it is written.
        files: Name to bytes, such as ``model.onnx``.
    """

    manifest: Manifest
    files: Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A written bundle, verified.

    Attributes:
        digest: sha256 of manifest.json, in hex; the bundle's name.
        manifest: What made it.
        files: Name to bytes.
    """

    digest: str
    manifest: Manifest
    files: Mapping[str, bytes]


class Bundles:
    """The bundles of a store, at ``bundles/<digest>/``."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def write(self, draft: Draft) -> Bundle:
        """Write a bundle; the manifest comes last, so an interrupted write is never seen.

        Raises:
            ValueError: If a file's name or size is not allowed.
            UnavailableError: If the store is full, not writable, or does not answer.
        """
        manifest = draft.manifest.model_copy(update={"files": _digests(draft.files)})
        data = manifest.model_dump_json(indent=1).encode("utf-8")
        if len(data) > MAX_MANIFEST_BYTES:
            raise ValueError(f"{MANIFEST}: {len(data)} bytes, at most {MAX_MANIFEST_BYTES} allowed")
        digest = hashlib.sha256(data).hexdigest()
        for name, content in draft.files.items():
            self._objects.put(f"bundles/{digest}/{name}", content)
        self._objects.put(f"bundles/{digest}/{MANIFEST}", data)
        return Bundle(digest=digest, manifest=manifest, files=dict(draft.files))

    def open(self, digest: str) -> Bundle:
        """Read a bundle; every byte is checked against its digest before it is parsed.

        Raises:
            KeyError: If there is none.
            CorruptError: If a file is missing, changed, or not in the manifest.
            DataError: If a newer everloop wrote it.
        """
        folder, sizes = self._sizes(digest)
        manifest = _parse_manifest(self._verified(folder, MANIFEST, sizes[MANIFEST], digest))
        _check_names(folder, manifest, sizes)
        files = {
            file.name: self._verified(folder, file.name, sizes[file.name], file.sha256)
            for file in manifest.files
        }
        return Bundle(digest=digest, manifest=manifest, files=files)

    def manifest(self, digest: str) -> Manifest:
        """Read a bundle's manifest alone, verified; the other files are not looked at.

        Raises:
            KeyError: If there is none.
            CorruptError: If it was changed.
            DataError: If a newer everloop wrote it.
        """
        folder, sizes = self._sizes(digest)
        return _parse_manifest(self._verified(folder, MANIFEST, sizes[MANIFEST], digest))

    def list(self) -> list[str]:
        """Return the digests of the bundles that were written whole."""
        ending = f"/{MANIFEST}"
        paths = [i.path for i in self._objects.list("bundles") if i.path.endswith(ending)]
        return [path.split("/")[1] for path in paths if path.count("/") == 2]  # noqa: PLR2004

    def delete(self, digest: str) -> None:
        """Remove a bundle; the manifest goes first, so that no half of it is ever opened."""
        folder = f"bundles/{_check_digest(digest)}"
        self._objects.delete([f"{folder}/{MANIFEST}"])
        self._objects.delete([info.path for info in self._objects.list(folder)])

    def _sizes(self, digest: str) -> tuple[str, dict[str, int]]:
        folder = f"bundles/{_check_digest(digest)}"
        sizes = {i.path[len(folder) + 1 :]: i.size_bytes for i in self._objects.list(folder)}
        if MANIFEST not in sizes:
            raise KeyError(digest)
        return folder, sizes

    def _verified(self, folder: str, name: str, size_bytes: int, digest: str) -> bytes:
        path = f"{folder}/{name}"
        limit = MAX_MANIFEST_BYTES if name == MANIFEST else MAX_FILE_BYTES
        if size_bytes > limit:
            raise CorruptError(f"{path}: {size_bytes} bytes, at most {limit} expected")
        data = self._objects.get(path)
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise CorruptError(
                f"{path}: its sha256 is {found[:12]}..., expected {digest[:12]}...; it was changed "
                "after it was written: restore the bundle from a copy, or train again"
            )
        return data


def _digests(files: Mapping[str, bytes]) -> tuple[FileDigest, ...]:
    for name, data in files.items():
        if not _FILE.fullmatch(name) or name == MANIFEST:
            raise ValueError(f"bundle file {name!r}: expected a name such as 'model.onnx'")
        if len(data) > MAX_FILE_BYTES:
            raise ValueError(f"{name}: {len(data)} bytes, at most {MAX_FILE_BYTES} allowed")
    return tuple(
        FileDigest(name=name, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        for name, data in sorted(files.items())
    )


def _check_digest(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"bundle {digest[:100]!r}: expected 64 hexadecimal digits")
    return digest


def _check_names(folder: str, manifest: Manifest, sizes: Mapping[str, int]) -> None:
    named = {file.name for file in manifest.files} | {MANIFEST}
    if missing := sorted(named - set(sizes)):
        raise CorruptError(f"{folder}: {missing[0]} is missing; restore the bundle from a copy")
    if extra := sorted(set(sizes) - named):
        raise CorruptError(
            f"{folder}: {extra[0]} is not in the manifest; remove it, or restore the bundle"
        )


def _parse_manifest(data: bytes) -> Manifest:
    try:
        found = json.loads(data).get("format")
        if isinstance(found, int) and found > MANIFEST_FORMAT:
            raise DataError(
                f"{MANIFEST}: format {found}, this everloop knows up to {MANIFEST_FORMAT}; "
                "install the everloop that wrote it, or a newer one"
            )
        return Manifest.model_validate_json(data)
    except (ValidationError, ValueError, AttributeError) as error:
        raise CorruptError(f"{MANIFEST}: not a manifest: {error}") from error
