"""Plans: what a piece of a source is, written before its rows are committed.

A plan is put if absent and then carried out. If the process is killed in between, the next run
finds a plan without a commit and carries out exactly that one, so a row is never in two pieces.
"""

from pydantic import ValidationError

from everloop.ingest.columns import Columns
from everloop.spec.errors import CorruptError
from everloop.spec.record import Record
from everloop.store.objects import Objects

_DIGITS = 12


class Plan(Record):
    """One piece of a source.

    Attributes:
        number: Of the piece, from 0; the table's offset of the source once it is committed.
        file: Path; relative to the project file's directory if it lies under it.
        format: ``csv``, ``jsonl`` or ``parquet``.
        size_bytes: Of the file when it was read.
        modified_ns: Of the file when it was read.
        digest: sha256 of the piece's bytes, or of a Parquet file's footer.
        start: First byte (of the decompressed text), or row of a Parquet file.
        end: One past the last.
        start_row: The first row's number in the file, from 0.
        num_rows: Rows of the piece, malformed ones among them.
        columns: The source's columns up to this piece, in order, and their types.
        header: The CSV file's own columns, in its order.
        is_last: Whether the file ended here.
    """

    number: int = 0
    file: str
    format: str
    size_bytes: int
    modified_ns: int
    digest: str = ""
    start: int = 0
    end: int = 0
    start_row: int = 0
    num_rows: int = 0
    columns: Columns
    header: tuple[str, ...] = ()
    is_last: bool = False


def plan_path(source: str, number: int) -> str:
    """Return where a plan lies in the store."""
    return f"ingest/{source}/{number:0{_DIGITS}d}.json"


def write_plan(objects: Objects, source: str, plan: Plan) -> None:
    """Write a plan that nobody has written yet.

    Raises:
        ConflictError: If another process ingests the same source and was first.
    """
    objects.put_new(plan_path(source, plan.number), plan.model_dump_json().encode())


def read_plan(objects: Objects, source: str, number: int) -> Plan:
    """Read one plan; it says which file the rows of an ``_offset`` came from.

    Raises:
        KeyError: If there is none.
        CorruptError: If it cannot be read.
    """
    path = plan_path(source, number)
    try:
        return Plan.model_validate_json(objects.get(path))
    except ValidationError as error:
        raise CorruptError(
            f"{objects.url}/{path}: found no readable plan; restore it from a copy of the store"
        ) from error


def read_plans(objects: Objects, source: str) -> list[Plan]:
    """Read all plans of a source, in order."""
    numbers = sorted(
        int(info.path.rsplit("/", 1)[-1].removesuffix(".json"))
        for info in objects.list(f"ingest/{source}/")
        if info.path.endswith(".json")
    )
    return [read_plan(objects, source, number) for number in numbers]
