"""The command line: it parses, calls, prints and turns mistakes into one line; nothing else.

Commands import what they need when they run, so that `pipeline --help` answers at once.
"""

from __future__ import annotations

import errno
import shlex
import sys
from typing import Any, cast

import typer

from pipeline.commands import (
    baselines,
    cancel,
    data,
    doctor,
    explain,
    extend,
    init,
    inspect,
    logs,
    predict,
    repair,
    retry,
    run,
    status,
    verify,
    worker,
)
from slurm.errors import SlurmError
from storage_schema.errors import UserError

app = typer.Typer(
    help="Collect training dynamics of neural networks, and predict from them how good a network will be.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (
    init.init,
    extend.extend,
    run.run,
    status.status,
    explain.explain,
    logs.logs,
    cancel.cancel,
    retry.retry,
    worker.worker,
    doctor.doctor,
    inspect.inspect,
    verify.verify,
    repair.repair,
    predict.predict,
):
    app.command()(command)
app.add_typer(data.app, name="data")
app.add_typer(baselines.app, name="baselines")

# Click's UsageError, of whichever click this typer brings.
USAGE_ERROR = cast("type[Exception]", typer.BadParameter.__mro__[1])
EXIT_MISTAKE, EXIT_INTERRUPTED = 2, 130
REMEDIES = {
    errno.ENOSPC: "make room and run the same command again",
    errno.EDQUOT: "make room and run the same command again",
    errno.EFBIG: "raise the limit and run the same command again",
    errno.EACCES: "change its permissions or choose another place",
    errno.EPERM: "change its permissions or choose another place",
    errno.EROFS: "choose a place that can be written",
    errno.ENOTDIR: "choose another place",
}


def main() -> None:
    """Entry point: a user's mistake is one line on stderr and exit code 2."""
    try:
        code = app(prog_name="pipeline", standalone_mode=False) or 0
    except (UserError, SlurmError) as error:
        _fail(str(error))
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0)
        _fail(
            f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")
            + (f"; {remedy}" if remedy else "")
        )
    except USAGE_ERROR as error:
        _misused(error)
    except (KeyboardInterrupt, typer.Abort):  # before or after typer, which makes it this exit code
        code = EXIT_INTERRUPTED
    if code == EXIT_INTERRUPTED:
        _fail("interrupted; what is finished or saved is kept, run the same command to go on", code)
    sys.exit(code)


def _misused(error: Any) -> None:
    """A wrong word on the command line; a command that was given none shows its help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        sys.exit(EXIT_MISTAKE)
    asked = error.ctx.command_path if error.ctx else "pipeline"
    given = shlex.join(["pipeline", *sys.argv[1:]])
    _fail(f"{error.format_message().rstrip('.')}, in `{given}`; see `{asked} --help`")


def _fail(text: str, code: int = EXIT_MISTAKE) -> None:
    print(f"pipeline: {' '.join(text.split())}", file=sys.stderr)
    sys.exit(code)
