"""Pages ask the engine and draw: they import its facade, Streamlit, pandas and the standard library, nothing else."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = {"streamlit", "pandas", "engine", "pages", *sys.stdlib_module_names}
FILES = [ROOT / "app.py", *sorted((ROOT / "pages").glob("*.py"))]


def imported(path: Path) -> set[str]:
    """Return every module that a file imports, in full."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." * node.level + (node.module or ""))
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_page_imports_the_facade_and_nothing_below(path: Path) -> None:
    for name in imported(path):
        assert name.split(".")[0] in ALLOWED, f"{path.name} imports {name}"
        assert not name.startswith("engine."), f"{path.name} reaches past the facade to {name}"


def test_the_pages_process_never_loads_torch() -> None:
    program = (
        "import sys, streamlit, engine, pages.parts; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
