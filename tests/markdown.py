"""What the tests read out of Markdown files: fenced blocks with their output, headings, links."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^```(?P<language>\w*)(?: (?P<name>\S+))?\n(?P<text>.*?)^```$", re.M | re.S)
_HEADING = re.compile(r"^#+ (.+)$", re.M)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`[^`\n]*`")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: the file.
        line: of its first fence, from 1.
        language: what stands behind the fence, "" if nothing does.
        name: what stands behind the language: a file name, or where the block runs.
        text: what it holds.
        output: the text of the next block, if that is one of the language "text" before the next
            heading; else None.
    """

    page: Path
    line: int
    language: str
    name: str
    text: str
    output: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, language: str) -> list[Block]:
    """Returns the blocks of a page that are of a language."""
    source = page.read_text(encoding="utf-8")
    found = list(_FENCE.finditer(source))
    result = []
    for fence, following in zip(found, [*found[1:], None], strict=False):
        output = None
        if following and following["language"] == "text":
            between = source[fence.end() : following.start()]
            output = None if _HEADING.search(between) else following["text"]
        line = source.count("\n", 0, fence.start()) + 1
        kind, name = fence["language"], fence["name"] or ""
        result.append(Block(page, line, kind, name, fence["text"], output))
    return [block for block in result if block.language == language]


def named(page: Path, name: str) -> Block:
    """Returns the one block of a page that has a name."""
    languages = ("html", "javascript", "python")
    (block,) = [b for kind in languages for b in blocks(page, kind) if b.name == name]
    return block


def commands(page: Path) -> dict[str, str]:
    """Returns the commands that a page shows, and what it says that they print."""
    result: dict[str, str] = {}
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            result[command] = output
    return result


def anchors(page: Path) -> set[str]:
    """Returns what links to a page may name behind ``#``."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = [title.lower() for title in _HEADING.findall(prose)]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


def links(page: Path) -> list[str]:
    """Returns where the links and pictures of a page lead."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return _LINK.findall(_CODE.sub("", prose))
