from pathlib import Path

import polars as pl
import pytest

from everloop.spec.errors import CorruptError
from everloop.spec.project import StoreSpec
from everloop.store.delta import CHECKPOINT_INTERVAL
from everloop.store.objects import Objects
from everloop.store.tables import Tables

LOG = "tables/raw/main/_delta_log"
Answers = tuple[int, int, int, list[dict[str, object]]]


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects.open(StoreSpec(url="state"), tmp_path)


def answers(objects: Objects) -> Answers:
    """What another process reads."""
    table = Tables(objects, StoreSpec(url="state")).table("raw/main")
    rows = table.scan().collect().rows(named=True)
    return table.version(), table.offset("a"), table.num_rows(), rows


def check_flips(objects: Objects, path: str, step: int) -> int:
    """Flip one bit here and there; return how often it was noticed, fail if one told a lie."""
    expected, data, noticed = answers(objects), objects.get(path), 0
    for place in range(0, len(data), step):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 7
        objects.put(path, bytes(changed))
        try:
            assert answers(objects) == expected
        except CorruptError:
            noticed += 1
    objects.put(path, data)
    assert answers(objects) == expected
    return noticed


def test_a_flipped_bit_in_a_commit_is_noticed_or_changes_no_answer(objects: Objects) -> None:
    table = Tables(objects, StoreSpec(url="state")).table("raw/main")
    table.append(pl.DataFrame({"n": [1, 2]}), app="a", offset=0)
    table.append(pl.DataFrame({"n": [3], "text": ["x"]}), app="a", offset=1)
    table.compact()
    for version in range(table.version() + 1):
        assert check_flips(objects, f"{LOG}/{version:020d}.json", step=17) > 10


def test_a_flipped_bit_in_a_checkpoint_or_its_digest_is_always_noticed(objects: Objects) -> None:
    table = Tables(objects, StoreSpec(url="state")).table("raw/main")
    rows = pl.DataFrame({"n": [1]})
    for offset in range(CHECKPOINT_INTERVAL + 1):
        table.append(rows.head(offset % 10 == 0), app="a", offset=offset)
    name = f"{LOG}/{CHECKPOINT_INTERVAL:020d}.checkpoint"
    size_bytes = len(objects.get(f"{name}.parquet"))
    step = size_bytes // 20
    assert check_flips(objects, f"{name}.parquet", step) == len(range(0, size_bytes, step))
    assert check_flips(objects, f"{name}.sha256", step=16) == 4
    check_flips(objects, f"{LOG}/_last_checkpoint", step=5)


def test_a_checkpoint_whose_writer_was_killed_before_its_digest_is_read(objects: Objects) -> None:
    table = Tables(objects, StoreSpec(url="state")).table("raw/main")
    for offset in range(CHECKPOINT_INTERVAL + 1):
        table.append(pl.DataFrame({"n": [offset]}), app="a", offset=offset)
    objects.delete([f"{LOG}/{CHECKPOINT_INTERVAL:020d}.checkpoint.sha256"])
    assert answers(objects)[:2] == (CHECKPOINT_INTERVAL, CHECKPOINT_INTERVAL)


def test_a_reader_that_holds_the_table_notices_a_changed_commit(objects: Objects) -> None:
    writer = Tables(objects, StoreSpec(url="state")).table("raw/main")
    reader = Tables(objects, StoreSpec(url="state")).table("raw/main")
    writer.append(pl.DataFrame({"n": [1]}), app="a", offset=0)
    assert reader.offset("a") == 0
    writer.append(pl.DataFrame({"n": [1]}), app="a", offset=1)
    path = f"{LOG}/{1:020d}.json"
    objects.put(path, objects.get(path).replace(b'"version":1}', b'"version":9}'))
    for _ in range(2):
        with pytest.raises(CorruptError, match="changed after it was written"):
            reader.offset("a")
