"""`finestream topic`: what lies in the topics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.options import (
    HELP,
    Config,
    DataDir,
    Format,
    Output,
    Sets,
    printable,
    read_settings,
    say,
    show,
    table,
)

if TYPE_CHECKING:
    from streams.lane_log import LogReader

EXAMPLES = """\
  finestream topic ls
  finestream topic peek judged --tail 3
  finestream topic peek dead.chunk --lane 2 --offset 17 --chars 0 --format json
  finestream topic count g2.matched
"""
_LS = """\
  finestream topic ls
  finestream topic ls --format json | jq '.[] | select(.topic=="raw").records'
"""
_PEEK = """\
  finestream topic peek judged                             the newest record
  finestream topic peek raw --lane 0 --offset 0 --records 5
  finestream topic peek ledger.main --tail 2 --format json
"""
_COUNT = """\
  finestream topic count judged
  finestream topic count dead.match --format json
"""

Topic = Annotated[
    str, typer.Argument(help="Its name, such as judged, g2.matched, dead.chunk.", show_default=False)
]
Lane = Annotated[int | None, typer.Option(min=0, help="One lane [default: all].", show_default=False)]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What lies in the topics.")


@app.command("ls", epilog=f"\b\nExamples:\n{_LS.rstrip()}", context_settings=HELP)
def list_topics(
    data_dir: DataDir = None,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """List the topics with their lanes and offsets.

    In books and ledgers some offsets hold no record: they are compacted, or mark transactions.
    """
    from streams.lane_log import LogReader

    with LogReader(read_settings(data_dir, config, sets)) as reader:
        data = [_listed(reader, name) for name in reader.topics()]
    rows = [
        {
            **row,
            "lanes": len(row["lanes"]),
            "begin": sum(lane["begin"] for lane in row["lanes"]),
            "end": sum(lane["end"] for lane in row["lanes"]),
        }
        for row in data
    ]
    show(data, output, lambda: table(rows, ("topic", "lanes", "begin", "end", "records")))


def _listed(reader: LogReader, name: str) -> dict[str, Any]:
    bounds = reader.all_bounds(name, list(range(reader.lanes_of(name))))
    lanes = [{"lane": lane, "begin": begin, "end": end} for lane, (begin, end) in bounds.items()]
    return {"topic": name, "records": sum(end - begin for begin, end in bounds.values()), "lanes": lanes}


@app.command("peek", epilog=f"\b\nExamples:\n{_PEEK.rstrip()}", context_settings=HELP)
def peek(
    topic: Topic,
    lane: Lane = None,
    offset: Annotated[
        int | None, typer.Option(min=0, help="Begin at this offset of the lane.", show_default=False)
    ] = None,
    tail: Annotated[
        int | None, typer.Option(min=1, help="The newest ones [default: 1].", show_default=False)
    ] = None,
    records: Annotated[int, typer.Option(min=1, help="How many, with --offset.")] = 1,
    characters: Annotated[
        int, typer.Option("--chars", min=0, help="Cut texts that are longer; 0: never.")
    ] = 300,
    data_dir: DataDir = None,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Show records: the key as words, the header's fields, the record decoded.

    Texts are from the web, and say what they like: they are shown escaped, and cut.
    """
    from streams.lane_log import LogReader
    from streams.peek import describe

    if offset is not None and tail is not None:
        raise typer.BadParameter("either --offset or --tail", param_hint="--offset")
    with LogReader(read_settings(data_dir, config, sets)) as reader:
        lanes = _chosen(reader, topic, lane)
        if offset is None:
            found = _newest(reader, topic, lanes, tail or 1)
        else:
            if len(lanes) > 1:
                raise typer.BadParameter(
                    f"an offset is one of a lane, and {topic} has {len(lanes)}: name it with --lane",
                    param_hint="--offset",
                )
            found = _from(reader, topic, lanes[0], offset, records)
        data = [describe(record, characters=characters) for record in found]
    if not data:
        say(f"{topic} holds nothing there")
    show(data, output, lambda: _lines(data))


@app.command("count", epilog=f"\b\nExamples:\n{_COUNT.rstrip()}", context_settings=HELP)
def count(
    topic: Topic,
    lane: Lane = None,
    data_dir: DataDir = None,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Count records by kind, reading every one; repeated positions (a zombie's late writes) apart."""
    from streams.lane_log import LogReader

    with LogReader(read_settings(data_dir, config, sets)) as reader:
        lanes = [_counted(reader, topic, number) for number in _chosen(reader, topic, lane)]
    total = {
        name: sum(row[name] for row in lanes) for name in lanes[0] if name not in {"lane", "begin", "end"}
    }
    data = {"topic": topic, "total": total, "lanes": lanes}
    rows = [*lanes, {"lane": "all", **total}]
    show(data, output, lambda: table(rows, tuple(lanes[0])))


def _chosen(reader: LogReader, topic: str, lane: int | None) -> list[int]:
    """Return the lanes that are meant. Raises a usage error for one that there isn't."""
    lanes = reader.lanes_of(topic)
    if lane is None:
        return list(range(lanes))
    if lane >= lanes:
        raise typer.BadParameter(f"{topic} has the lanes 0 to {lanes - 1}", param_hint="--lane")
    return [lane]


def _from(reader: LogReader, topic: str, lane: int, offset: int, records: int) -> list[Any]:
    begin, end = reader.bounds(topic, lane)
    if not begin <= offset < end:
        raise typer.BadParameter(
            f"lane {lane} of {topic} holds offsets {begin} to {end - 1}"
            if end > begin
            else f"{topic} is empty",
            param_hint="--offset",
        )
    return list(reader.read(topic, lane, offset, min(end, offset + records)))


def _newest(reader: LogReader, topic: str, lanes: list[int], most: int) -> list[Any]:
    """Return the newest records of some lanes, oldest first."""
    found: list[Any] = []
    for lane, (begin, end) in reader.all_bounds(topic, lanes).items():
        back = most
        while True:  # offsets may hold no record: look further back
            start = max(begin, end - back)
            records = list(reader.read(topic, lane, start, end))
            if len(records) >= most or start == begin:
                break
            back *= 4
        found = sorted([*found, *records[-most:]], key=lambda r: (r.timestamp, r.partition, r.offset))[-most:]
    return found


def _counted(reader: LogReader, topic: str, lane: int) -> dict[str, Any]:
    from streams import pipeline
    from streams.errors import RecordError
    from streams.positions import (
        Kind,
        unpack_lane_header,
        unpack_origin,
        unpack_position,
        unpack_raw_header,
    )

    base = pipeline.base_name(topic)
    begin, end = reader.bounds(topic, lane)
    row: dict[str, Any] = {"lane": lane, "begin": begin, "end": end, "records": 0, "value_bytes": 0}
    kinds: tuple[Kind, ...] = ()
    if base == pipeline.RAW:
        kinds = (Kind.DOCUMENT, Kind.STUB)
    elif base in pipeline.TOPICS:
        kinds = (Kind.SEGMENT, Kind.DROPPED, Kind.DEAD)
    elif base.startswith("dead."):
        kinds = (Kind.DEAD,)
    row |= {kind.name.lower(): 0 for kind in kinds}
    if kinds:
        row |= {"repeated": 0, "foreign": 0}
    highest: Any = None
    for record in reader.read(topic, lane, begin, end):
        row["records"] += 1
        row["value_bytes"] += len(record.value or b"")
        if not kinds:
            continue
        try:
            raw = base == pipeline.RAW
            place: Any = unpack_origin(record.key) if raw else unpack_position(record.key)
            kind = (unpack_raw_header(record.headers) if raw else unpack_lane_header(record.headers)).kind
        except RecordError:
            row["foreign"] += 1
            continue
        if highest is not None and place <= highest:
            row["repeated"] += 1
            continue
        highest = place
        name = kind.name.lower()
        row[name] = row.get(name, 0) + 1
    return row


def _lines(data: Iterable[dict[str, Any]]) -> Iterator[str]:
    for described in data:
        yield (
            f"{printable(described['topic'])}, lane {described['lane']}, offset {described['offset']}, "
            f"{described['bytes']:,} bytes, appended {described['appended_at']}"
        )
        for name in ("key", "header", "headers", "unreadable", "record"):
            if described.get(name) is not None:
                yield from tree(name, described[name], "  ")
        yield ""


def tree(name: str, value: Any, indent: str = "") -> Iterator[str]:
    """Return a value as indented lines, a field each; what is small stays on one line."""
    label = f"{indent}{printable(name)}"
    if isinstance(value, dict | list) and not value:
        yield f"{label}: none"
    elif isinstance(value, dict):
        flat = ", ".join(f"{printable(k)} {_plain(v)}" for k, v in value.items())
        if all(_small(item) for item in value.values()) and len(indent) + len(flat) < 100:
            yield f"{label}: {flat}"
            return
        yield f"{label}:"
        for key, item in value.items():
            yield from tree(str(key), item, indent + "  ")
    elif isinstance(value, list):
        if all(_small(item) and not isinstance(item, str) for item in value):
            yield f"{label}: {_plain(value)}"
            return
        yield f"{label}:"
        for item in value:
            yield from tree("-", item, indent + "  ")
    else:
        yield f"{label}: {_plain(value)}"


def _small(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= 4 and all(isinstance(item, int | float) for item in value)
    return not isinstance(value, dict)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_plain(item) for item in value)}]"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.1f}"
    return printable(value) if value != "" else "''"
