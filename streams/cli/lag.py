"""`finestream lag`: how far each stage, and the trainer, is behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.options import Config, DataDir, Format, Output, Sets, printable, read_settings, show, table

if TYPE_CHECKING:
    from streams.lag import StageLag

EXAMPLES = """\
  finestream lag
  finestream lag --lanes --run demo
  watch -n 2 finestream lag
  finestream lag --format json | jq '.stages[] | {stage, records, seconds}'
"""


def lag(
    by_lane: Annotated[bool, typer.Option("--lanes", help="Every lane, not only the sums.")] = False,
    run: Annotated[
        str | None,
        typer.Option(help="The trainer's run, such as demo [default: trainer.run].", show_default=False),
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
    sets: Sets = None,
    output: Output = Format.human,
) -> None:
    """Show what each stage has still to do: records, and the age of the oldest since it was appended.

    Asked of Kafka alone, so it works where every worker is dead. Offsets are committed each second.
    """
    from streams import generations
    from streams import lag as lags

    settings = read_settings(data_dir, config, sets)
    if run is not None:
        named = settings.trainer.model_copy(update={"run": run})
        settings = settings.model_copy(update={"trainer": named})
    generation = generations.load(settings)
    stages = lags.stages(settings, generation)
    trained = lags.trainer(settings, generation)
    data: dict[str, Any] = {"generation": generation.id, "stages": [_stage(stage) for stage in stages]}
    data["trainer"] = None
    if trained is not None:
        documents = sum(lane["documents"] for lane in trained.lanes)
        data["trainer"] = {
            "run": trained.run,
            "step": trained.step,
            "documents": documents,
            "lanes": trained.lanes,
        }
    show(data, output, lambda: _lines(data, by_lane=by_lane))


def _stage(stage: StageLag) -> dict[str, Any]:
    import msgspec

    return {**msgspec.to_builtins(stage), "records": stage.records, "seconds": stage.seconds}


def _lines(data: dict[str, Any], *, by_lane: bool) -> Iterator[str]:
    rows = [
        {
            **stage,
            "workers": len(stage["members"]),
            "held": sum(bool(lane["member"]) for lane in stage["lanes"]),
        }
        for stage in data["stages"]
    ]
    yield from table(
        [
            {**row, "lanes": f"{row['held']}/{len(row['lanes'])}", "seconds": _age(row["seconds"])}
            for row in rows
        ],
        ("stage", "topic", "records", "seconds", "workers", "lanes", "state"),
    )
    if by_lane:
        for row in rows:
            yield from ("", f"{printable(row['group'])} reads {printable(row['topic'])}")
            lanes = [
                {**lane, "committed": "none" if lane["committed"] is None else lane["committed"]}
                | {"seconds": _age(lane["seconds"])}
                for lane in row["lanes"]
            ]
            yield from table(lanes, ("lane", "committed", "end", "records", "seconds", "member"))
    run = data["trainer"]
    if run is None:
        return
    yield ""
    yield (
        f"trainer, run {run['run']}: step {run['step']}, {run['documents']} documents of raw "
        "are not yet in its ledger"
    )
    if by_lane:
        lanes = [{**lane, "position": "none" if lane["position"] is None else tuple(lane["position"])}
                 for lane in run["lanes"]]  # fmt: skip
        yield from table(lanes, ("lane", "position", "raw_end", "documents"))


def _age(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds:.1f}"
