"""Bad rows and files: each says where, what was found and what to do; mended, the turn goes on."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from everloop.loop.quarantine import count_by_rule
from everloop.loop.turn import run_turn
from everloop.loop.workspace import Workspace
from tests.cli.projects import NUM_ROWS, PROJECT, Done, change, edit, everloop, make_project, rows

ROWS = rows()
HEAD, *LINES = ROWS.splitlines()


@dataclass(frozen=True)
class Bad:
    """Rows or settings that cannot be used.

    Attributes:
        data: The file's content.
        code: How the turn must end.
        says: What the message must hold.
        text: The project file.
    """

    data: str
    code: int
    says: tuple[str, ...]
    text: str = PROJECT


def renamed(old: str, new: str) -> str:
    return ROWS.replace(HEAD, HEAD.replace(old, new), 1)


def setting(old: str, new: str) -> str:
    assert old in PROJECT
    return PROJECT.replace(old, new)


CASES = {
    "too many broken rows": Bad(
        ROWS.replace("red,1", "red,1,extra,9"), 1,
        ("source 'main'", "of 400 rows are bad", "malformed", "validate.max_bad_ratio"),
    ),
    "no time column": Bad(
        renamed("at", "when"), 1, ("sources.main.time", "'at'", "it has id, when", "--anew"),
    ),
    "no key column": Bad(renamed("id", "number"), 1, ("sources.main.key", "'id'", "it has number")),
    "no label column": Bad(
        renamed("bought", "sold"), 1, ("sources[0].label", "'bought'", "colour, sold", "--anew"),
    ),
    "no column of a rule": Bad(renamed("price", "cost"), 1, ("columns.price", "'price'", "cost")),
    "no feature column": Bad(
        ROWS, 1, ("train.features", "'color'", "price, colour"),
        setting("[train.boosting]", '[train]\nfeatures = ["price", "color"]\n\n[train.boosting]'),
    ),
    "no column to exclude": Bad(
        ROWS,
        1,
        ("train.exclude", "'color'", "price, colour"),
        setting("[train.boosting]", '[train]\nexclude = ["color"]\n\n[train.boosting]'),
    ),
    "text where numbers belong": Bad(
        change("price", "cheap"), 1, ("400 of 400 rows", "price.kind", "'cheap'", "--anew"),
    ),
    "text where times belong": Bad(
        change("at", "noon"), 1, ("400 of 400 rows", "at.kind", "'noon'", "--anew"),
    ),
    "an empty file": Bad("", 1, ("source 'main'", "'data/*.csv'", "no row", "check")),
    "a head without rows": Bad(f"{HEAD}\n", 1, ("source 'main'", "no row", "check")),
    "a needed column without values": Bad(
        change("price", ""), 1, ("400 of 400 rows", "price.required", "--anew"),
    ),
    "a label without values": Bad(
        change("bought", ""), 1, ("no row with a label", "sources[0].label"),
    ),
    "one class only": Bad(
        change("bought", "1"), 1, ("the label", "400 rows", "'1'", "two values", "look at"),
    ),
    "a label expression that is none": Bad(
        ROWS, 2, ("sources[0].label", "'bought >> '", "expected a SQL expression"),
        setting('"bought"', '"bought >> "'),
    ),
    "a label expression of other types": Bad(
        ROWS,
        1,
        ("sources[0].label", "cannot be computed", "compare string with numeric"),
        setting('"bought"', '"colour > 3"'),
    ),
    "a label expression of a column that is not there": Bad(
        ROWS, 1, ("sources[0].label", "'sold'", "it has id, at"), setting('"bought"', '"sold > 3"'),
    ),
    "too few rows": Bad("\n".join([HEAD, *LINES[:3]]), 1, ("3 labelled rows", "expected", "more")),
    "another kind of file": Bad("\0\1\2" * 99, 1, ("data/a.csv", "zero byte", "another kind")),
    "a column twice": Bad(
        renamed("colour", "price"), 1, ("data/a.csv", "'price' twice", "rename one"),
    ),
}  # fmt: skip


def refused(done: Done, code: int, says: tuple[str, ...]) -> None:
    assert done.code == code, done.text
    for words in says:
        assert words in done.err, done.err
    assert len(done.err) < 1000


def kept(folder: Path) -> set[str]:
    return {path.name for path in (folder / ".everloop" / "tables").iterdir()}


def mended(folder: Path) -> None:
    """Check that nothing stands in the way of a turn once the input is good."""
    ws = Workspace.open(folder)
    report = run_turn(ws)
    assert report.champion is not None
    assert not report.is_held
    assert ws.tables.table("clean/main").num_rows() == NUM_ROWS
    assert count_by_rule(ws, "main").is_empty()


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_told_and_mended_goes_on(tmp_path: Path, name: str) -> None:
    bad = CASES[name]
    folder = make_project(tmp_path / "shop", text=bad.text, data=bad.data)
    refused(everloop("run", cwd=folder), bad.code, bad.says)
    (folder / "everloop.toml").write_text(PROJECT)
    (folder / "data" / "a.csv").write_text(ROWS)
    again = everloop("ingest", "--anew", cwd=folder)
    if "clean" in kept(folder):
        # Rows that were kept are history: mended ones come in a file, or a store, of their own.
        refused(again, 1, ("source 'main'", "clean rows were made", "new file"))
        edit(folder / "everloop.toml", "[gate]", '[store]\nurl = "./mended"\n\n[gate]')
    else:
        assert again.out == "main: 400 new rows in 1 pieces\n"
    mended(folder)


def test_a_few_broken_rows_are_set_aside_and_the_rest_is_used(tmp_path: Path) -> None:
    broken = [*LINES[:20], "7,too,many,cells,in,here", "8,few", *LINES[20:], '9,"never closed']
    folder = make_project(tmp_path / "shop", data="\n".join([HEAD, *broken]))
    done = everloop("run", cwd=folder)
    assert done.code == 0, done.text
    assert "kept 400" in done.out
    assert "quarantined malformed 3" in done.out
    shown = everloop("quarantine", cwd=folder).out
    assert "7,too,many,cells,in,here" in shown


def test_no_file_that_matches_is_told_and_a_file_goes_on(new_shop: Path) -> None:
    (new_shop / "data" / "a.csv").rename(new_shop / "a.csv")
    done = everloop("run", cwd=new_shop)
    refused(done, 1, ("source 'main'", "no file matches 'data/*.csv'", "check sources.path"))
    (new_shop / "a.csv").rename(new_shop / "data" / "a.csv")
    mended(new_shop)


def _cut_short(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def _flipped(whole: bytes) -> bytes:
    return whole[:-20] + bytes([whole[-20] ^ 0xFF]) + whole[-19:]


@pytest.mark.parametrize("spoil", [_cut_short, _flipped, lambda _: b"id,at\n1,2\n"])
def test_a_parquet_file_that_is_none_is_told_and_written_again_goes_on(
    new_shop: Path, spoil: Callable[[bytes], bytes]
) -> None:
    import polars as pl

    edit(new_shop / "everloop.toml", "*.csv", "*.parquet")
    path = new_shop / "data" / "a.parquet"
    pl.read_csv(new_shop / "data" / "a.csv").write_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(spoil(whole))
    refused(everloop("run", cwd=new_shop), 1, ("source 'main'", "data/a.parquet", "expected"))
    path.write_bytes(whole)
    mended(new_shop)


def test_a_bad_file_after_a_good_one_leaves_the_champion_and_mended_is_taken_in(shop: Path) -> None:
    new = rows(60, start=400)
    (shop / "data" / "b.csv").write_text(new.replace("id,at,price", "id,at,cost"))
    done = everloop("run", cwd=shop)
    refused(done, 1, ("data/b.csv", "lacks 'price'", "it has 'id', 'at', 'cost'", "Add the column"))
    assert everloop("models", "--json", cwd=shop).json[0]["aliases"] == ["champion"]
    (shop / "in.csv").write_text(rows(3))
    assert everloop("predict", "in.csv", "out.csv", cwd=shop).code == 0
    (shop / "data" / "b.csv").write_text(new)
    assert everloop("run", "--to", "validate", "--json", cwd=shop).json["cleaned"][0]["kept"] == 60


def test_a_file_that_changed_after_it_was_taken_in_is_told(shop: Path) -> None:
    path = shop / "data" / "a.csv"
    whole = path.read_text()
    path.write_text(whole.replace("red", "RED"))
    refused(everloop("run", cwd=shop), 1, ("source 'main'", "data/a.csv", "new file"))
    path.write_text(whole)
    assert everloop("run", cwd=shop).code == 0


def test_a_column_without_any_value_is_used_as_nothing(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "shop", data=change("colour", ""))
    done = everloop("run", cwd=folder)
    assert done.code == 0, done.text
    assert "no value at all in colour" in done.out


def test_a_column_that_gives_the_label_away_is_named(new_shop: Path) -> None:
    edit(new_shop / "everloop.toml", "[gate]", "[train.split]\ntune = 0.2\n\n[gate]")
    lines = [f"{line},{'x' if line.endswith(',1') else ''}" for line in LINES]
    (new_shop / "data" / "a.csv").write_text("\n".join([f"{HEAD},receipt", *lines, ""]))
    done = everloop("run", cwd=new_shop)
    assert "warning   column 'receipt' alone tells the label (auc 1.0000 on" in done.out
    assert "name it in train.exclude" in done.out
