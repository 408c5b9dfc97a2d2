"""labelwise: the command line. Exit status 0, or 2 with one plain line that says what to do next; 130 after Ctrl-C."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from engine.cli.grammar import parser
from engine.errors import LabelwiseError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    try:
        options = parser().parse_args(arguments)
        return int(options.do(options) or 0)
    except LabelwiseError as fault:
        # Blanks within a line are left alone: they may be those of a path in a command to be copied.
        print("labelwise:", " ".join(filter(None, map(str.strip, str(fault).splitlines()))), file=sys.stderr)
    except KeyboardInterrupt:
        print("labelwise: interrupted; the same command begins again, or goes on with what is stored.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output (head, less) has enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 2
