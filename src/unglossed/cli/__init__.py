"""The command line: every verb reads its arguments and calls one function of the library.

Nothing heavy is imported before a verb runs, so that `unglossed --help` answers at once.
Exit codes: 0 done, 1 a check found faults, 2 the user's input is wrong; 130, 143, 129, 138 ended
by Ctrl-C, by SIGTERM (`kill`), by SIGHUP (the terminal was closed) or by SIGUSR1 (Slurm), cleaned
up as after Ctrl-C.
"""

import errno
import signal
import sys
from contextlib import suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from unglossed.cli import (
    common,
    long_videos,
    peers,
    poses,
    reproduce,
    serve,
    tools,
    train,
    translate,
)
from unglossed.cli.common import INPUT_WRONG, fail
from unglossed.cli.corpus import app as corpus_app
from unglossed.errors import InputError
from unglossed.signals import leave_interrupts, stopped_by, take_interrupts_once
from unglossed.threads import wait_briefly

_SIGNALLED = 128


class Verbs(TyperGroup):
    """The group of all verbs; a user's mistake in any of them becomes one line and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _stopped(*map(str, error.args)) from None
        except Exception as error:
            if stopped_by() is not None:  # what was asked to end may fail in other ways, too
                raise _stopped() from None
            if (message := _describe(error)) is None:
                raise
            if not getattr(error, "told_elsewhere", False):
                fail(message)
        raise typer.Exit(INPUT_WRONG)


_ABOUT = "Sign language video to text, without glosses, by factorized training."
app = typer.Typer(
    cls=Verbs,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=_ABOUT,
)
app.add_typer(corpus_app, name="corpus")
for _verb in (
    tools.synth,
    poses.poses,
    train.extract,
    train.train,
    translate.evaluate,
    tools.calibrate,
    translate.score,
    translate.compare,
    translate.score_segments,
    translate.translate,
    reproduce.reproduce,
    serve.serve,
    long_videos.align,
    tools.trim,
    tools.export,
    tools.doctor,
):
    app.command()(_verb)
app.command("import")(peers.import_)


def _print_version(wanted: bool) -> None:
    if wanted:
        from unglossed import __version__

        print(f"unglossed {__version__}")
        raise typer.Exit


@app.callback(help=_ABOUT)
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the command `unglossed`."""
    take_interrupts_once()
    wait_briefly()
    common.own_process = True
    try:
        app()
    finally:
        leave_interrupts()


def _describe(error: Exception) -> str | None:
    """The message about an error that a user can fix; None: it is a fault of the program."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, UnicodeDecodeError):
        return f"a text file is not UTF-8: {error}"
    # No such file, no permission, a full disk, ...; but not a reader who has gone.
    if isinstance(error, OSError) and error.errno not in (None, errno.EPIPE):
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part)
    return None


def _stopped(*told: str) -> typer.Exit:
    """Print one line that the work was stopped, and how to go on; return the exit code for it."""
    number = stopped_by() or signal.SIGINT
    if not common.is_first_process():
        return typer.Exit(_SIGNALLED + number)
    by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    with suppress(OSError):  # the terminal may have gone
        print("; ".join([f"stopped{by}", *told]), file=sys.stderr)
    return typer.Exit(_SIGNALLED + number)
