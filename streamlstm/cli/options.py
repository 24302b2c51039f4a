"""What every command shares: errors as one line, options that are also settings, and where things are.

A command is made with `command` and its options with `option`::

    @command("greet")
    @option("--name", required=True, help="Whom to greet.")
    @json_option
    def greet(name: str, as_json: bool) -> None:
        ...

An option is also the variable `STREAMLSTM_<NAME>` and a key of the settings file (`cli.settings_file`); the flag
wins over the variable, the variable over the file, the file over the default. click's own automatic prefix would call
the variable of `serve --redis` STREAMLSTM_SERVE_REDIS and ignore STREAMLSTM_REDIS, so each option names its own.
"""

from __future__ import annotations

import difflib
import errno
import os
import select
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from streamlstm.cli.help_page import write_examples, write_options
from streamlstm.cli.settings_file import PREFIX
from streamlstm.common import counted, printable, without_secrets  # noqa: F401  (`counted` is for the commands)
from streamlstm.errors import StreamlstmError, UsageError

Function = TypeVar("Function", bound=Callable[..., Any])

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:  # generic at run time only since click 8.5
    ParamType = click.ParamType

EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130  # 130 is the shell's 128 + SIGINT


class _ReaderLeftError(Exception):
    """Nobody reads stdout any more. click would make exit status 1 of the BrokenPipeError itself."""


class OneLineErrors(click.Command):
    """A click command whose every failure is one line on stderr and an exit status, never a traceback."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by what they are about."""
        write_options(ctx, formatter, self.get_params(ctx))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples."""
        write_examples(ctx, formatter)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Read the command line; help and version are printed here."""
        with _noticing_reader():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command's function."""
        with _noticing_reader():
            return super().invoke(ctx)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command; in standalone mode end the process with 0, 1 (failure), 2 (usage) or 130 (Ctrl-C)."""

        def run() -> Any:
            return super(OneLineErrors, self).main(args, prog_name, complete_var, standalone_mode=False, **extra)

        return _exit_with_status(run) if standalone_mode else run()


class Command(OneLineErrors):
    """A command of the program, made by `command`."""


class CommandGroup(OneLineErrors, click.Group):
    """A group of commands with the same manners; a name that is none of them suggests the nearest."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first word names."""
        word = args[0] if args else ""
        if ctx.resilient_parsing or word.startswith("-") or word in self.list_commands(ctx):
            return super().resolve_command(ctx, args)
        raise click.UsageError(f"No such command {word!r}{nearest(word, self.list_commands(ctx))}", ctx)


class Option(click.Option):
    """An option whose variable is named where it was wrong, not on the help page: `streamlstm config variables`."""

    def get_help_extra(self, ctx: click.Context) -> Any:
        """What stands in brackets behind the help text."""
        extra = super().get_help_extra(ctx)
        extra.pop("envvars", None)
        return extra


def command(name: str | None = None, **attributes: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command; a StreamlstmError it raises becomes one line and exit 1 (UsageError: 2)."""
    return click.command(name, cls=Command, **attributes)


def group(name: str | None = None, **attributes: Any) -> Callable[[Callable[..., Any]], CommandGroup]:
    """Make a function a group of commands, each made with `command` and added to it."""
    return click.group(name, cls=CommandGroup, **attributes)


def option(*declarations: str, setting: bool = True, **attributes: Any) -> Callable[[Function], Function]:
    """Declare an option that is also the variable STREAMLSTM_<NAME>; takes what click.option takes.

    Without `setting` it is only ever a flag: what overwrites, deletes or starts anew is asked for where it is done, and
    never by what was set somewhere for something else.
    """
    if setting:
        attributes.setdefault("envvar", environment_variable(*declarations))
        attributes.setdefault("show_envvar", True)
    attributes.setdefault("show_default", True)
    attributes.setdefault("cls", Option)
    return click.option(*declarations, **attributes)


def environment_variable(*declarations: str) -> str:
    """Name the variable of an option: STREAMLSTM_ and its first long name in capitals."""
    name = next(text for text in declarations if text.startswith("--"))
    return PREFIX + name.partition("/")[0].lstrip("-").replace("-", "_").upper()


def nearest(word: str, known: Sequence[str]) -> str:
    """The end of a message about a word that is none of those known: the nearest of them, or all."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"


# Passed to the command as `as_json: bool`.
json_option = option("--json", "as_json", is_flag=True, help="Print JSON instead of text for people.")
PASSWORD_FILE = "streamlstm.password_file"  # noqa: S105  (where click's context keeps it)


def _keep_password_file(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:  # noqa: ARG001
    if value is not None:
        ctx.meta[PASSWORD_FILE] = value


# Not passed: streamlstm.cli.connection.with_password finds it.
_password_option = option(
    "--password-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    expose_value=False,
    callback=_keep_password_file,
    help="File with the server's password, read anew at each connection. It may also be in STREAMLSTM_REDIS_PASSWORD, "
    "or in the URL.",
)


def server_options(without: str) -> Callable[[Function], Function]:
    """Declare --redis, passed as `redis_url: str | None`, and --password-file; `without` says what holds without."""
    named = option(
        "--redis",
        "redis_url",
        metavar="URL",
        show_default=False,  # click shows that of the settings file, which may hold a password
        help="The server: a redis://, rediss://, unix://, redis+sentinel:// or redis+cluster:// URL. " + without,
    )

    def declare(function: Function) -> Function:
        return named(_password_option(function))

    return declare


# streamlstm.cli.connection.resolve_redis says which server is meant.
redis_option = server_options("Without it: the embedded server of --data-dir, which is waited for.")
FSYNC = ("always", "everysec", "no")  # the server's own words, for its appendfsync
# Passed as `data_dir: Path`.
data_dir_option = option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=Path("streamlstm-data"),
    metavar="DIRECTORY",
    help="Where the embedded server keeps its data and says where it listens.",
)


def _only_text(ctx: click.Context, param: click.Parameter, value: Any) -> Any:  # noqa: ARG001
    for name in (value,) if isinstance(value, str) else value:
        if any("\ud800" <= sign <= "\udfff" for sign in name):  # bytes that are no text
            raise UsageError(f"the stream's name {os.fsencode(name)!r} is not UTF-8 text")
    return value


# Passed as `stream: str`, and as `streams: tuple[str, ...]`.
stream_argument = click.argument("stream", metavar="[STREAM]", default="values", required=False, callback=_only_text)
streams_argument = click.argument("streams", metavar="[STREAM]...", nargs=-1, callback=_only_text)


# Passed as `series: tuple[str, ...]`.
series_option = option(
    "--series", multiple=True, metavar="NAME", setting=False, help="This series; may be given several times."
)
FINGERPRINT_DIGITS = 12  # of 64, that are shown; enough to tell models apart at a glance


def shown_model(fingerprint: str | None) -> str:
    """The first digits of a fingerprint; nothing of none."""
    return (fingerprint or "")[:FINGERPRINT_DIGITS]


def keep_inputs(inputs: Sequence[Path], outputs: Sequence[Path | None]) -> None:
    """UsageError if a file to be written is one that is read."""
    for output in outputs:
        if output is not None and any(os.path.realpath(output) == os.path.realpath(path) for path in inputs):
            raise UsageError(f"{output} is read, so it is not written over; name another file")


def note(message: str) -> None:
    """Say something to a person: one line on stderr, so that stdout stays clean for data."""
    aside(f"streamlstm: {_fit(message)}")


def aside(text: str) -> None:
    """Print on stderr; one that nobody reads any more is as good as nowhere."""
    with suppress(BrokenPipeError):
        click.echo(text, err=True)


def say(lines: Iterable[str]) -> None:
    """Print lines for people; whatever names and texts of others are in them, each stays one line that only shows."""
    click.echo("\n".join(map(printable, lines)))


def leave_if_unread() -> None:
    """Raise BrokenPipeError if nobody reads stdout any more; a command that waits would find out only at a write."""
    if not _is_read():
        raise BrokenPipeError(errno.EPIPE, "the reader of the output has left")


def _is_read() -> bool:
    """Whether stdout has a reader, as far as can be told."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # not a real file, as under a test runner
        return True
    poller = select.poll()
    poller.register(descriptor, 0)  # the reader's leaving (POLLERR) is reported without being asked for
    return not any(event & select.POLLERR for _, event in poller.poll(0))


@contextmanager
def _noticing_reader() -> Iterator[None]:
    """Have it known that the reader of stdout has left, before click takes it for a failure."""
    try:
        yield
    except BrokenPipeError:
        if _is_read():
            raise
        raise _ReaderLeftError from None


def _exit_with_status(run: Callable[[], Any]) -> NoReturn:
    """Call `run`, print whatever it fails with as one line, and end the process with the status for it."""
    _open_closed()
    sys.excepthook, threading.excepthook = _report_bug, _report_bug_of_thread
    sys.unraisablehook = _report_unraisable
    try:
        status = run()
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        aside(error.format_message())
        sys.exit(EXIT_USAGE)
    except click.UsageError as error:
        hint = f" (see `{error.ctx.command_path} --help`)" if error.ctx is not None else ""
        _fail(error.format_message().rstrip(".") + hint, EXIT_USAGE)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except UsageError as error:
        _fail(str(error), EXIT_USAGE)
    except StreamlstmError as error:
        _fail(str(error), EXIT_FAILURE)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(EXIT_INTERRUPTED)
    except _ReaderLeftError:
        _leave_closed_pipe()
    except OSError as error:
        if error.errno == errno.EPIPE and not _is_read():  # at the last flush
            _leave_closed_pipe()
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", EXIT_FAILURE)
    except UnicodeEncodeError as error:
        _fail(f"{error.object!r} is not UTF-8 text, which names and options have to be", EXIT_USAGE)
    except Exception as error:
        lack = _lack(error)
        if lack is None and not _is_redis_error(error):
            raise  # a bug: its traceback is what a report needs
        _fail(lack or f"the server answered with an error: {error}", EXIT_FAILURE)
    sys.exit(status if isinstance(status, int) else 0)


def _lack(error: Exception) -> str | None:
    """What the machine, or a limit on the process, does not give; None if that is not what the error is about."""
    said = str(error).strip().rpartition("\n")[2]  # numpy's reason is the last of many lines
    mend = "free memory, or allow the process more (ulimit -v, ulimit -u)"
    if isinstance(error, ImportError) and (".so" in said or ".dylib" in said):
        return f"a library cannot be loaded: {said.removeprefix('Original error was: ')}; {mend}, or install it anew"
    if isinstance(error, MemoryError):
        return f"there is too little memory{': ' * bool(said)}{said}; {mend}"
    if isinstance(error, RuntimeError) and said == "can't start new thread":
        return f"no thread can be started; {mend}"
    return None


def _open_closed() -> None:
    """Send what is said on a closed stdout or stderr to nowhere: Python has None there."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, so most often the one missing
            setattr(sys, name, open(nothing, "w" if descriptor else "r", encoding="utf-8"))  # noqa: SIM115  (to the end)


def _report_bug(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Print a traceback, without secrets that it may have picked up on its way, or signs that act."""
    lines = "".join(traceback.format_exception(kind, error, where)).splitlines()
    aside("\n".join(map(_fit, lines)))


def _report_bug_of_thread(said: threading.ExceptHookArgs) -> None:
    if said.exc_value is not None:
        _report_bug(said.exc_type, said.exc_value, said.exc_traceback)


def _report_unraisable(said: sys.UnraisableHookArgs) -> None:
    if said.exc_value is not None:
        _report_bug(said.exc_type, said.exc_value, said.exc_traceback)


def _fail(message: str, status: int) -> NoReturn:
    """Print one line on stderr and end; line breaks in a message of others are folded."""
    aside(f"streamlstm: error: {_fit(' '.join(message.split()))}")
    sys.exit(status)


def _fit(message: str) -> str:
    return printable(without_secrets(message))


def _leave_closed_pipe() -> NoReturn:
    """End quietly and clean: the reader of stdout has left (`tail | head`), so it had enough.

    stdout is pointed at nothing first, as the Python documentation advises ("Note on SIGPIPE"), or the interpreter
    would complain when it flushes at its end.
    """
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    sys.exit(0)


def _is_redis_error(error: Exception) -> bool:
    """Whether a redis-py exception escaped its module; asks without importing redis, which costs 0.2 s."""
    redis = sys.modules.get("redis")
    return redis is not None and isinstance(error, redis.RedisError)
