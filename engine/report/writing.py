"""Writing a report to a file."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from engine.errors import ArgumentError
from engine.report.html import html_report
from engine.runs import Store


def write_report(store: Store, run_id: str, path: str | os.PathLike[str], *, headline: str | None = None) -> Path:
    """Write the report of a run as a web page or as slides, by the ending of the path.

    Args:
        store: The open store.
        run_id: The run.
        path: A path that ends in .html or .pptx; its folder is made if need be.
        headline: The first line; by default the answer.

    Returns:
        The path of the file.

    Raises:
        ArgumentError: The ending is neither, or the file cannot be written.
        RunError: The store holds no such run, or the package for slides is missing.
    """
    target = Path(path).expanduser()
    if target.suffix.lower() == ".html":
        data = html_report(store, run_id, headline=headline).encode()
    elif target.suffix.lower() == ".pptx":
        from engine.report.slides import slides_report

        data = slides_report(store, run_id, headline=headline)
    else:
        found = f"ends in {target.suffix}" if target.suffix else "has no ending"
        raise ArgumentError(
            f"The report's file {target.name} {found}; name it .html for a web page or .pptx for slides."
        )
    _write(target, data)
    return target


def _write(target: Path, data: bytes) -> None:
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        os.replace(part, target)
    except OSError as fault:
        part.unlink(missing_ok=True)
        reason = fault.strerror or "output error"
        raise ArgumentError(f"{target} cannot be written ({reason}); choose another folder.") from None
