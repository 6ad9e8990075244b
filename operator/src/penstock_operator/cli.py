"""The `penstock` command. Commands of other parts join through the entry point group `penstock.commands`."""

from __future__ import annotations

from importlib.metadata import entry_points, version

import click

_GROUP = "penstock.commands"


class Commands(click.Group):
    """A group whose commands are entry points, imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Own commands and those of installed parts."""
        return sorted({*super().list_commands(ctx), *(entry.name for entry in entry_points(group=_GROUP))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, loaded on demand; a part that is not installed says how to get it."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        for entry in entry_points(group=_GROUP, name=cmd_name):
            try:
                command = entry.load()
            except ModuleNotFoundError as error:
                raise click.ClickException(f"{cmd_name} needs {error.name}: pip install 'penstock[lab]'") from error
            assert isinstance(command, click.Command)
            return command
        return None


@click.group(cls=Commands)
@click.version_option(version("penstock"), package_name="penstock")
def main() -> None:
    """Penstock: serve LLMs at an SLA with the fewest GPU-hours."""


if __name__ == "__main__":
    main()
