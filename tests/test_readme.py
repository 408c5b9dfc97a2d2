"""The README's Python runs as it stands there, and its commands are those the command line has."""

import re
from pathlib import Path

from engine.cli.grammar import parser

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def test_python_runs(capsys):
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
    assert "answer" in capsys.readouterr().out


def test_the_first_two_commands_open_the_dashboard_and_pass_the_tests():
    first, second = blocks("sh")[0].splitlines()
    assert first.startswith("make app")
    assert second.startswith("make test")


def test_every_command_parses():
    lines = [line.split("#")[0].split() for line in "\n".join(blocks("sh")[1:]).splitlines()]
    for words in lines:
        assert words[0] == "labelwise"
        parser().parse_args(words[1:])
