"""The command `pyworkers`: a group whose commands are imported when they are named.

Owns the group and what it says about a command that cannot be imported. Knows nothing of what the
commands do: each is the click command `NAME` in the module `pyworkers.cli.NAME`.
"""

import importlib
from typing import NoReturn

import click

from pyworkers import __version__

_COMMANDS = ("serve", "build", "run")


class _LazyGroup(click.Group):
    """A group in which one command's missing dependency leaves the others usable."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        try:
            module = importlib.import_module(f"pyworkers.cli.{cmd_name}")
        except ImportError as error:
            return _unavailable(cmd_name, error)
        command: click.Command = getattr(module, cmd_name)
        return command


def _unavailable(name: str, error: ImportError) -> click.Command:
    """A command that stands in for one that cannot be imported, and says why."""

    def fail() -> NoReturn:
        raise click.ClickException(
            f"'{name}' cannot be loaded ({error}); try pip install 'pyworkers[serve]'"
        )

    return click.Command(
        name,
        callback=fail,
        short_help=f"(unavailable: {error})",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )


@click.command(cls=_LazyGroup)
@click.version_option(__version__, prog_name="pyworkers")
def main() -> None:
    """Parallel Python in the browser: the tools that run outside it."""
