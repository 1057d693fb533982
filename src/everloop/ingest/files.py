"""Local files as a source: Parquet, CSV and JSON lines, in the order of their names.

A file may grow if it is text: its new lines are new rows. Any other change of a file that was
taken in is an error, because its rows are in the table already; new rows belong in a new file.
"""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from everloop.ingest.columns import Columns
from everloop.ingest.parquet import parquet_again, parquet_pieces
from everloop.ingest.pieces import FileJob, Piece
from everloop.ingest.plans import Plan
from everloop.ingest.text import COMPRESSED
from everloop.ingest.text_files import text_again, text_pieces
from everloop.spec.errors import DataError
from everloop.spec.project import SourceSpec

_ENDINGS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
}  # fmt: skip


class FileSource:
    """The files of a path or a glob.

    Args:
        source: The source's settings.
        root: The project file's directory.
    """

    def __init__(self, source: SourceSpec, root: Path) -> None:
        self._source = source
        self._root = root.resolve()

    def pieces(self, plans: Sequence[Plan]) -> Iterator[Piece]:
        """Read what no plan holds yet.

        Args:
            plans: All plans so far, each of them committed.

        Raises:
            DataError: If no file matches, or a file cannot be taken in.
        """
        columns = dict(plans[-1].columns) if plans else {}
        number = plans[-1].number + 1 if plans else 0
        for path in self._files(is_first=not plans):
            done = [plan for plan in plans if plan.file == self._name(path)]
            for piece in self._file_pieces(path, done, columns):
                plan = piece.plan.model_copy(update={"number": number})
                number, columns = number + 1, plan.columns
                yield Piece(plan, piece.rows)

    def again(self, plan: Plan) -> Piece:
        """Read a plan's rows once more.

        Raises:
            DataError: If its file is gone or has changed.
        """
        path, where = self._root / plan.file, self._where(plan.file)
        if not path.is_file():
            raise DataError(f"{where}: gone, with rows of it half taken in; restore it")
        if plan.format == "parquet":
            return parquet_again(plan, path, where)
        return text_again(plan, path, where)

    def _files(self, *, is_first: bool) -> list[Path]:
        pattern = str(self._root / self._source.path)
        names = glob.glob(pattern, recursive=True)  # noqa: PTH207 - may be absolute
        files = sorted(path for path in map(Path, names) if path.is_file())
        if is_first and not files:
            raise DataError(
                f"source {self._source.name!r}: no file matches {self._source.path!r} in "
                f"{self._root}; check sources.path"
            )
        return files

    def _name(self, path: Path) -> str:
        is_below = path.is_relative_to(self._root)
        return (path.relative_to(self._root) if is_below else path).as_posix()

    def _where(self, name: str) -> str:
        return f"source {self._source.name!r}, file {name}"

    def _file_pieces(self, path: Path, done: Sequence[Plan], columns: Columns) -> Iterator[Piece]:
        name = self._name(path)
        kind = self._format(path)
        status = path.stat()
        size_bytes, modified_ns = status.st_size, status.st_mtime_ns
        is_same = bool(done) and (size_bytes, modified_ns) == (
            done[-1].size_bytes,
            done[-1].modified_ns,
        )
        if (is_same and done[-1].is_last) or (not done and not size_bytes):
            return iter(())
        draft = Plan(
            file=name, format=kind, size_bytes=size_bytes, modified_ns=modified_ns, columns=columns
        )
        job = FileJob(path, self._where(name), draft, done, is_same, self._source.piece_rows)
        return parquet_pieces(job) if kind == "parquet" else text_pieces(job)

    def _format(self, path: Path) -> str:
        if self._source.format != "auto":
            return self._source.format
        bare = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
        found = _ENDINGS.get(bare.suffix.lower())
        if found is None:
            raise DataError(
                f"{self._where(self._name(path))}: found ending {path.suffix!r}, expected "
                f"{', '.join(_ENDINGS)}; rename the file or set sources.format"
            )
        return found
