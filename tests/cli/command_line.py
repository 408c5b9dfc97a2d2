"""The sample on the command line, and a command that must fail."""

from engine.cli import main
from engine.runs.states import application

SAMPLE = application() / "sample_data"
ON_SAMPLE = [str(SAMPLE / "labels.csv"), str(SAMPLE / "pool.csv"), "--text", "review", "--label", "rating"]
HEADER, ROW = "text,rating\n", '"number {}, and a bit of text",{}\n'


def fault(capsys, *arguments: object) -> str:
    """Run a command that must fail and return its one line."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as end:  # argparse
        status = end.code
    captured = capsys.readouterr()
    assert status == 2
    assert captured.err.startswith("labelwise: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    return captured.err
