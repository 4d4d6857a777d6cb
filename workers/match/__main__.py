"""Entry of `finestream template`: `python -m workers.match REQUEST`, one JSON object (`commands.Request`)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from streams.cli.options import Format, printable, say, show, table
from streams.errors import FinestreamError
from streams.settings import load
from workers.match.commands import Commands, Request

BAR: Final = 40


def main() -> int:
    """Run one command; its answer on stdout, words on stderr."""
    request = msgspec.json.decode(sys.argv[1], type=Request)
    try:
        answer = Commands(request, load(), say).run()
    except FinestreamError as error:
        say(f"finestream template {request.command}: {error}")
        return error.exit_code
    show(answer, Format(request.output), lambda: lines(request.command, answer))
    return 0


def lines(command: str, answer: dict[str, Any] | list[dict[str, Any]]) -> Iterator[str]:
    """Return an answer for people."""
    if isinstance(answer, list):
        yield from table(answer, ("bank", "kind", "templates", "encoder", "index", "versions", "version"))
        return
    for name, value in answer.items():
        if name == "templates" and isinstance(value, list):
            for template in value:
                yield ""
                where = f"{printable(template['domain'])}, keep {template['keep']:g}"
                yield f"{printable(template['id'])}  ({where})"
                yield f"  {printable(template['template'])}"
                yield f"  fits: {printable(template['description'])}"
        elif name == "curve":
            yield from _curve(value)
        elif isinstance(value, dict):
            yield f"{name}:"
            yield from _entries(value.items(), bars=command == "stats" and name in {"complexity", "domains"})
        else:
            yield f"{name}: {printable(value)}"


def _entries(items: Iterable[tuple[str, Any]], *, bars: bool) -> Iterator[str]:
    rows = list(items)
    most = max((value for _, value in rows if isinstance(value, int)), default=1) if bars else 1
    for key, value in rows:
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        bar = "  " + "#" * round(BAR * value / most) if bars else ""
        yield f"  {printable(key) or '(none)':20} {printable(shown)}{bar}"


def _curve(points: list[dict[str, Any]]) -> Iterator[str]:
    yield "threshold  pairs  precision  95 % interval"
    for point in points:
        low, high = round(BAR * point["low"]), round(BAR * point["high"])
        bar = "".join("-" if low <= i <= high else " " for i in range(BAR + 1))
        at = round(BAR * point["precision"])
        yield (
            f"{point['threshold']:9.3f}  {point['above']:5}  {point['precision']:9.3f}  "
            f"|{bar[:at]}o{bar[at + 1 :]}|"
        )


if __name__ == "__main__":
    sys.exit(main())
