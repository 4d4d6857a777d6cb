"""datatrove for comparison: an environment of its own, and what is run in it (this file, as a script).

Its dependencies have no place in ours, so it is installed for the benchmark only: into the user's cache, once
(a minute and some 600 MB), or where `DATATROVE_PYTHON` names an interpreter that has it. Nothing of ours is
imported here: over there only the standard library and datatrove are to be had.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

VERSION = "0.10.1"
REQUIREMENTS = (
    f"datatrove[processing]=={VERSION}",
    "spacy==3.8.18",
    "trafilatura==1.11.0",
    "warcio",
    "faust-cchardet",
    "python-magic",  # needs the system's libmagic
    "tldextract",
)
FAMILIES = ("fineweb", "gopher_quality", "c4", "gopher_repetition")


class NoDatatrove(Exception):
    """It cannot be had here; the message says why."""


def interpreter() -> Path:
    """Return a Python that has datatrove; make its environment where it is not there."""
    if named := os.environ.get("DATATROVE_PYTHON"):
        python = Path(named)
        _check(python)
        return python
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "finestream" / f"datatrove-{VERSION}"
    python, done = folder / "bin" / "python", folder / ".complete"
    if not done.exists():
        print(f"installing datatrove {VERSION} into {folder}", file=sys.stderr, flush=True)
        uv = shutil.which("uv") or Path(sys.executable).with_name("uv")
        venv.create(folder, clear=True, with_pip=not Path(uv).exists())
        command = (
            [str(uv), "pip", "install", "--quiet", "--python", str(python)]
            if Path(uv).exists()
            else [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        )
        if subprocess.run([*command, *REQUIREMENTS], stdout=sys.stderr, check=False).returncode:
            raise NoDatatrove("it could not be installed; DATATROVE_PYTHON may name a Python that has it")
        _check(python)
        done.touch()
    return python


def _check(python: Path) -> None:
    tried = subprocess.run(
        [
            python,
            "-c",
            f"import importlib.metadata as m; assert m.version('datatrove') == '{VERSION}'; import magic",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        why = (tried.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise NoDatatrove(f"{python} has no datatrove {VERSION} (with python-magic and libmagic): {why}")


def ask(*arguments: str | Path, seconds: float = 850) -> dict[str, Any]:
    """Run this file over there and return what it answers."""
    run = subprocess.run(
        [interpreter(), __file__, *arguments], stdout=subprocess.PIPE, text=True, timeout=seconds, check=False
    )
    if run.returncode:
        raise NoDatatrove(f"it ended with {run.returncode}")
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write JSON lines."""
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return path


# What follows runs over there.


def filters() -> dict[str, Any]:
    """datatrove's filters with FineWeb's settings: its defaults, and C4 without its rule on final marks."""
    from datatrove.pipeline.filters import (  # type: ignore[import-not-found]
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    return {
        "fineweb": FineWebQualityFilter(),
        "gopher_quality": GopherQualityFilter(),
        "c4": C4QualityFilter(filter_no_terminal_punct=False),
        "gopher_repetition": GopherRepetitionFilter(),
    }


def verdicts(texts: Path, out: Path) -> dict[str, Any]:
    """Write each text's verdict by each filter, empty where it is kept; answer the CPU time of all."""
    from datatrove.data import Document  # type: ignore[import-not-found]

    chain = filters()
    rows = [json.loads(line)["text"] for line in texts.open(encoding="utf-8")]
    for one in chain.values():  # loads spaCy
        one.filter(Document(text="A first text.", id="0"))
    found = []
    began = time.process_time()
    for text in rows:
        verdict = {}
        for name, one in chain.items():
            said = one.filter(Document(text=text, id="0"))
            verdict[name] = "" if said is True else said[1]
        found.append(verdict)
    seconds = time.process_time() - began
    write_rows(out, found)
    return {"documents": len(rows), "cpu_seconds": seconds}


def pipeline(warc: Path) -> dict[str, Any]:
    """Read, extract and filter, in one process and without datatrove's sandbox (which would cost it more)."""
    from datatrove.pipeline.extractors import Trafilatura  # type: ignore[import-not-found]
    from datatrove.pipeline.readers import WarcReader  # type: ignore[import-not-found]

    chain = filters()
    extractor = Trafilatura(favour_precision=True)
    reader = WarcReader(str(warc.parent), glob_pattern=warc.name)

    def documents() -> Iterator[Any]:
        for document in reader.run():
            document.text = extractor.extract(document.text)
            if document.text:
                yield document

    for _, document in zip(range(3), documents(), strict=False):  # loads spaCy and trafilatura
        for one in chain.values():
            one.filter(document)
    parts = dict.fromkeys(("read_extract", *chain), 0.0)
    read = kept = 0
    began = last = time.process_time()
    for document in documents():
        read += 1
        parts["read_extract"] += time.process_time() - last
        for name in ("gopher_repetition", "gopher_quality", "c4", "fineweb"):  # FineWeb's order
            begin = time.process_time()
            said = chain[name].filter(document)
            parts[name] += time.process_time() - begin
            if said is not True:
                break
        else:
            kept += 1
        last = time.process_time()
    return {"texts": read, "kept": kept, "cpu_seconds": time.process_time() - began, "parts": parts}


if __name__ == "__main__":
    _what, *_paths = sys.argv[1:]
    _answer = {"verdicts": verdicts, "pipeline": pipeline}[_what](*map(Path, _paths))
    print(json.dumps(_answer))
