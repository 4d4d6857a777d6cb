"""The sample documents that ship with the project: what `finestream demo` reads where no input is given."""

from __future__ import annotations

from pathlib import Path


def sample_paths() -> list[Path]:
    """Return the shipped crawl files, in a fixed order."""
    return sorted(p for p in (Path(__file__).parent / "data" / "samples").iterdir() if p.suffix == ".gz")
