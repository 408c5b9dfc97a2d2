"""The command labelwise. What it does takes seconds to import, and Ctrl-C is answered with one line even then."""

import sys


def main() -> int:
    """Run the command line; return the exit status."""
    try:
        from engine.cli import main as run
    except KeyboardInterrupt:
        print("labelwise: interrupted.", file=sys.stderr)
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
