"""The one command, `medgym`. It only wires: each floor's verbs live in its own `commands` module."""

from __future__ import annotations

import logging
import sys
from typing import NoReturn

import typer

from . import __version__
from .agent import commands as agent_commands
from .agent import run_command
from .agent.serve import commands as serve_commands
from .env import commands as env_commands
from .tools import commands as tools_commands
from .tools import kb_commands
from .tools.console import ENVIRONMENT, FINDING, USAGE, CommandError
from .train import commands as train_commands
from .train.study import commands as study_commands

app = typer.Typer(
    name="medgym",
    help="A clinical agent gym. A research tool, not for clinical use.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(agent_commands.play)
app.command()(run_command.run)
app.command()(agent_commands.sessions)
app.command()(serve_commands.serve)
app.command()(train_commands.train)
app.command()(env_commands.validate)
app.command()(env_commands.replay)
app.add_typer(env_commands.tasks, name="tasks")
app.add_typer(env_commands.tools, name="tools")
app.add_typer(kb_commands.kb, name="kb")
app.add_typer(study_commands.study, name="study")
app.command()(tools_commands.doctor)


@app.command()
def version() -> None:
    """The version."""
    typer.echo(__version__)


def main() -> None:
    """Entry point: errors that a user can mend are one line on standard error, with their exit code."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        code = app(prog_name="medgym", standalone_mode=False)
    except CommandError as error:
        _fail(str(error), error.code)
    except _UsageError as error:
        _misused(error)
    except typer.Abort:
        _fail("left", FINDING)
    except KeyError as error:
        _fail(str(error.args[0]) if error.args else str(error), USAGE)
    except ValueError as error:
        _fail(str(error), USAGE)
    except OSError as error:
        _fail(str(error), ENVIRONMENT)
    sys.exit(code if isinstance(code, int) else 0)


# typer brings its own click and exports only some of its errors: the base of a wrong option's is reached through one
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def _misused(error: Exception) -> NoReturn:
    """One line for a wrong option or argument; the help where no command was given."""
    context = getattr(error, "ctx", None)
    said = str(getattr(error, "format_message")())  # noqa: B009
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{said}\n")
        sys.exit(USAGE)
    command = getattr(context, "command_path", "medgym")
    _fail(f"{' '.join(said.split())} (`{command} --help` lists what there is)", USAGE)


def _fail(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"medgym: {message}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
