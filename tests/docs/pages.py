"""The pages of the docs and the fenced blocks in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\S*)(?: +(\S+))?$")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        place: Page and line, for messages.
        language: The first word behind the fence.
        file: The second word: where the block belongs.
        lines: What stands in it.
    """

    place: str
    language: str
    file: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)


def pages() -> list[Path]:
    """Return every page."""
    folders = (ROOT, ROOT / "changelog.d", ROOT / "docs", ROOT / "docs" / "decisions")
    return [page for folder in folders for page in sorted(folder.glob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """Find the fenced blocks of a page."""
    inside: list[str] | None = None
    start, language, file = 0, "", ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        match = _FENCE.match(line)
        if inside is None and match:
            inside, start, language, file = [], number, match[1], match[2] or ""
        elif inside is not None and line == "```":
            yield Block(f"{page.relative_to(ROOT)}:{start}", language, file, tuple(inside))
            inside = None
        elif inside is not None:
            inside.append(line)
    assert inside is None, f"{page}:{start}: the block does not end"
