"""The command reference, made from the commands themselves: `python -m api.cli.reference > docs/commands.md`."""

from collections.abc import Iterator
from typing import Any

import typer

from api.cli.main import app


def lines() -> Iterator[str]:
    """The reference as Markdown."""
    yield "# Commands"
    yield (
        "Made by `python -m api.cli.reference`. `--home DIR` may stand anywhere; most commands take `--json`. "
        "Exit codes: 0 done, 1 it failed, 2 the request was wrong."
    )
    yield from _describe(typer.main.get_command(app), "winnow")


def _describe(command: Any, name: str) -> Iterator[str]:
    for child, described in sorted(getattr(command, "commands", {}).items()):
        yield from _describe(described, f"{name} {child}")
    if hasattr(command, "commands") and not command.invoke_without_command:
        return
    arguments = [str(one.metavar or one.name.upper()) for one in command.params if one.param_type_name == "argument"]
    yield f"\n## `{' '.join([name, *arguments])}`"
    yield command.get_short_help_str(limit=500)
    options = [one for one in command.params if one.param_type_name == "option" and "--json" not in one.opts]
    if options:
        yield "\n| option | |\n|---|---|"
    for one in options:
        yield f"| `{', '.join(one.opts)}` | {' '.join((one.help or '').split())} |"


if __name__ == "__main__":
    print("\n".join(lines()))
