"""How commands talk: one JSON document or a few lines on stdout, progress on stderr."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from store.workspace import Workspace

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else there.")]
Progress = Callable[[int, int], None]  # (done, total)


def home(context: typer.Context) -> Path:
    """The folder the command line named."""
    return Path(context.find_root().obj).expanduser().absolute()


def workspace(context: typer.Context) -> "Workspace":
    """The workspace the command line named."""
    from store.workspace import open_workspace

    return open_workspace(home(context))


def emit(document: dict[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    """Print `document` for programs or `lines` for people."""
    if as_json:
        print(json.dumps(document, indent=2, default=str))
    else:
        for line in lines:
            print(line)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Rows as aligned columns under headings; numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(heading), *(len(row[i]) for row in cells), 0) for i, heading in enumerate(headings)]
    numeric = [bool(cells) and all(_is_number(row[i]) for row in cells) for i in range(len(headings))]
    lines = []
    for row in [list(headings), *cells]:
        aligned = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(aligned).rstrip())
    return lines


def printable(text: str) -> str:
    """`text` on one line: what a terminal would not print, such as a newline in a file's name, spelled out."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


@contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """A bar with rate and time left on a terminal's stderr; silent in a pipe."""
    from tqdm import tqdm

    with tqdm(desc=what, disable=not sys.stderr.isatty(), file=sys.stderr, unit="") as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield advance


def login() -> str | None:
    """Who is logged in here; none for an account without a name, as in a container."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    return printable(str(value))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell == "–"
    return True
