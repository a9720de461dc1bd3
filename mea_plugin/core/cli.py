"""What every command-line tool shares: how it parses, how it fails, how it ends."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mea_plugin.core.errors import InputError, RunError, Stopped, line_of
from mea_plugin.core.launch import end_process, in_process_group, is_first_process
from mea_plugin.core.packages import lacking, missing
from mea_plugin.core.plugins import import_from_environment, import_plugin

__all__ = ['ToolParser', 'is_of_the_disk', 'run_tool']

EXIT_CANNOT_GO_ON = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130

# A full or read-only disk, missing rights and a file for a folder are no bugs, wherever they are met.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENAMETOOLONG)


class _Import(argparse.Action):
    """Imports the module at once: when the arguments are read, everything that it registers is there."""

    def __call__(self, parser: object, namespace: object, values: Any, option_string: str | None = None) -> None:
        """See the class."""
        if isinstance(parser, ToolParser) and parser.prepare is not None:
            parser.prepare()
        import_plugin(values)


class ToolParser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line and exit code 2, like those about any other bad input.

    Every parser, also of a sub-command, has ``--import MODULE``; see :func:`~mea_plugin.core.plugins.import_plugin`.

    Args:
        prepare: Called before such a module is imported: lets a toolbox that it imports run with a newer torch.
    """

    def __init__(self, *args: Any, prepare: Callable[[], None] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepare = prepare
        self.add_argument(
            '--import',
            action=_Import,
            default=argparse.SUPPRESS,
            metavar='MODULE',
            help='import a module or .py file first, for what it registers; it runs code; may be given several times',
        )

    def error(self, message: str) -> NoReturn:
        """End with one line instead of the usage and a line."""
        self.exit(EXIT_BAD_INPUT, f'{self.prog}: {message}. See {self.prog} --help.\n')


def is_of_the_disk(error: BaseException) -> bool:
    """Whether an error means a full or read-only disk, or missing rights."""
    return isinstance(error, OSError) and error.errno in _OF_THE_DISK


def run_tool(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> int:
    """Run a tool's ``main`` and return its exit code.

    0 when it returns, 2 with one line on standard error for an :class:`InputError`, a package that is not installed, or
    a full or read-only disk, 1 for a :class:`RunError`, 130 for Ctrl-C, 143 for a SIGTERM after which a run has put its
    state away. Anything else is a bug and keeps its traceback; with ``MEA_DEBUG`` set in the environment, those errors
    keep theirs, too.
    """
    if hasattr(sys.stdout, 'reconfigure'):  # the name of a file need not be UTF-8; standard error escapes it already
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        code = _run(main, argv)
    except BaseException:
        if in_process_group():
            traceback.print_exc()
            end_process(EXIT_CANNOT_GO_ON)
        raise
    return end_process(code)


def _run(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None) -> int:
    try:
        import_from_environment()
        main(argv)
    except InputError as error:
        if os.environ.get('MEA_DEBUG'):
            raise
        print(f'error: {error}', file=sys.stderr)
        return EXIT_BAD_INPUT
    except ModuleNotFoundError as error:
        # What is there and lacks a part is a bug, or a fault that only its traceback explains.
        if not error.name or not lacking(error.name.partition('.')[0]) or os.environ.get('MEA_DEBUG'):
            raise
        print(f'error: {missing(Path(sys.argv[0]).name or "this", error)}', file=sys.stderr)
        return EXIT_BAD_INPUT
    except RunError as error:
        if os.environ.get('MEA_DEBUG'):
            raise
        print(f'error: {error}', file=sys.stderr)
        return EXIT_CANNOT_GO_ON
    except OSError as error:
        if not is_of_the_disk(error) or os.environ.get('MEA_DEBUG'):
            raise
        where = f'{line_of(str(error.filename))}: ' if error.filename else ''
        print(f'error: {where}{error.strerror}. Check the disk and the rights to the folder.', file=sys.stderr)
        return EXIT_BAD_INPUT
    except Stopped as stopped:
        if is_first_process():
            print(stopped, file=sys.stderr)
        return stopped.exit_code
    except KeyboardInterrupt:
        print('interrupted; run the same command again to go on', file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0
