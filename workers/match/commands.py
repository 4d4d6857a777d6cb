"""What `finestream template …` does, in the process that has the models: each command returns its answer.

The command line lives in `streams/cli/template.py` and starts `python -m workers.match` with one JSON object,
since `streams` imports nothing of the workers and `--help` no model library.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from streams.errors import BankError
from streams.settings import Settings
from streams.settings.banks import MANIFEST, SAMPLING, bank_folder, shipped_banks, version_folder
from streams.tokens import load_tokenizer
from workers.encoder import Encoder
from workers.match import bank as banks
from workers.match import store
from workers.match.bank import Bank, SampledBank
from workers.match.build import Wanted, make, revise
from workers.match.calibration import threshold_of
from workers.match.index import TemplateIndex
from workers.match.judged_pairs import calibrate_bank
from workers.match.manifest import COMPLEXITIES, Sampling, read_manifest
from workers.match.sample_texts import embeddings, sample_segments
from workers.match.sampling import CANDIDATES, TARGET, TARGET_SOURCE, histogram, weights
from workers.match.template_files import Reader
from workers.match.usage import LEAST_SEGMENTS, Usage, candidates_of, evenness, measure

BINS: Final = (*map(str, range(1, COMPLEXITIES)), f"{COMPLEXITIES}+")


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """One command, as the command line passes it on."""

    command: str
    bank: str = ""
    files: list[str] = []
    output: str = "human"
    encoder: str = ""
    columns: dict[str, str] = {}
    against: dict[str, str] = {}
    skip_faulty: bool = False
    recall: float = 0.95
    memory_gb: float = 0.0
    dry_run: bool = False
    ids: list[str] = []
    limit: int = 5
    verify: bool = False
    segments: int = 5000
    few: bool = False
    target: str = ""
    precision: float = 0.9


class Commands:
    """The commands, on one request."""

    def __init__(self, request: Request, settings: Settings, say: Callable[[str], None]) -> None:
        self._request = request
        self._settings = settings
        self._say = say

    def run(self) -> dict[str, Any] | list[dict[str, Any]]:
        """Carry out the request; raise `FinestreamError`."""
        answer: dict[str, Any] | list[dict[str, Any]] = getattr(self, f"_{self._request.command}")()
        return answer

    @cached_property
    def _encoder(self) -> Encoder:
        return Encoder.load(
            self._request.encoder or self._settings.match.encoder, self._settings.match.threads
        )

    def _ls(self) -> list[dict[str, Any]]:
        root = Path(self._request.bank or "banks")
        found = [(name, bank_folder(name)) for name in shipped_banks()]
        if root.is_dir():
            inside = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
            found += [
                (str(path), path)
                for path in inside
                if (path / "CURRENT").is_file() or any(path.glob("*.jsonl"))
            ]
        return [self._listed(name, path) for name, path in found]

    def _listed(self, name: str, path: Path) -> dict[str, Any]:
        version = version_folder(path)
        if version is None:
            bank = banks.read(path)
            return {"bank": name, "kind": "jsonl", "version": bank.version, "templates": len(bank),
                    "encoder": "", "index": "", "versions": 1}  # fmt: skip
        manifest = read_manifest(version / MANIFEST)
        return {"bank": name, "kind": "built", "version": manifest.version, "templates": manifest.count,
                "encoder": manifest.encoder, "index": manifest.index.factory,
                "versions": len(store.versions(path)) or 1}  # fmt: skip

    def _show(self) -> dict[str, Any]:
        request = self._request
        bank = self._opened(verify=request.verify)
        rows = range(min(request.limit, len(bank))) if not request.ids else self._rows(bank)
        return {
            **_facts(bank),
            "verified": bool(request.verify),
            "templates": [
                {
                    "id": bank.ids[row],
                    "template": bank.templates[row],
                    "description": bank.descriptions[row],
                    "domain": bank.domains[row],
                    "keep": 1.0 if bank.keep is None else round(float(bank.keep[row]), 4),
                }
                for row in rows
            ],
        }

    def _rows(self, bank: Bank) -> list[int]:
        if missing := [name for name in self._request.ids if name not in bank.rows]:
            raise BankError(f"bank {bank.name} has no template {missing[0]!r}")
        return [bank.rows[name] for name in self._request.ids]

    def _stats(self) -> dict[str, Any]:
        bank = self._opened()
        domains: dict[str, int] = {}
        for domain in bank.domains:
            domains[domain] = domains.get(domain, 0) + 1
        assert bank.complexities is not None
        mix = np.array(list(domains.values()), dtype=np.float64)
        return {
            **_facts(bank),
            "complexity": dict(zip(BINS, histogram(bank.complexities), strict=True)),
            "domains": dict(sorted(domains.items(), key=lambda item: (-item[1], item[0]))),
            "domain_evenness": round(evenness(mix, len(mix)), 4),
            "languages": dict(bank.languages),
            "disabled": 0 if bank.keep is None else int((bank.keep <= 0).sum()),
            "sampling": _sampling(bank.sampling),
        }

    def _build(self) -> dict[str, Any]:
        return self._make(add=False)

    def _add(self) -> dict[str, Any]:
        return self._make(add=True)

    def _import(self) -> dict[str, Any]:
        """Add to a bank, or build it where there is none."""
        return self._make(add=(Path(self._request.bank) / "CURRENT").is_file())

    def _make(self, *, add: bool) -> dict[str, Any]:
        request = self._request
        wanted = Wanted(
            inputs=[Path(name) for name in request.files],
            columns=request.columns,
            skip_faulty=request.skip_faulty,
            against=request.against,
            recall=request.recall,
            memory_bytes=round(request.memory_gb * 2**30),
        )
        if request.bank in shipped_banks():
            raise BankError(
                f"{request.bank!r} is a shipped bank: build one of your own, with its files as input"
            )
        made = make(Path(request.bank), wanted, self._encoder, self._say, add=add, dry_run=request.dry_run)
        return {
            "bank": request.bank,
            "version": made.version,
            "parent": made.parent,
            "templates": made.count,
            "left_out": made.left_out,
            "index": msgspec.to_builtins(made.index),
            "encoder": made.encoder,
            "dry_run": request.dry_run,
        }

    def _disable(self) -> dict[str, Any]:
        bank = self._opened()
        rows = self._rows(bank)
        if bank.folder is None:
            raise BankError(f"bank {bank.name} is a folder of JSONL files: take the lines out, or build it")
        keep = np.ones(len(bank), np.float32) if bank.keep is None else np.array(bank.keep)
        keep[rows] = 0.0
        answer = {
            "bank": self._request.bank,
            "disabled": int((keep <= 0).sum()),
            "dry_run": self._request.dry_run,
        }
        if self._request.dry_run:
            return {**answer, "version": bank.version}
        made = revise(
            Path(self._request.bank),
            lambda old: msgspec.structs.replace(old, disabled=int((keep <= 0).sum())),
            keep,
        )
        return {**answer, "version": made.version}

    def _measure(self) -> dict[str, Any]:
        """Measure candidate(n) and use on documents, and fix them with the bank."""
        request, settings = self._request, self._settings
        bank = self._opened()
        texts = sample_segments(
            [Path(name) for name in request.files],
            load_tokenizer(settings.chunk.tokenizer),
            settings.chunk.segment_tokens,
            request.segments,
        )
        if len(texts) < LEAST_SEGMENTS and not request.few:
            raise BankError(
                f"the documents give {len(texts)} segments, at least {LEAST_SEGMENTS} are wanted: with fewer "
                "the weights are noise. Give more documents, or --few to try"
            )
        self._say(f"{len(texts)} segments are embedded and searched with")
        index = TemplateIndex.open(bank, self._encoder)
        threshold = threshold_of(bank, settings.match)("")
        views = embeddings(self._encoder, [text.text for text in texts], settings.match)
        found = candidates_of(views, index, threshold, [text.language for text in texts])
        enabled = None if bank.keep is None or bank.folder is None else np.asarray(bank.keep) > 0
        assert bank.complexities is not None
        target, source = self._target()
        usage = measure(found, bank.complexities, target, enabled, self._say)
        sampling = Sampling(
            encoder=self._encoder.name,
            threshold=threshold,
            gaussians=settings.match.gaussians,
            segments=usage.segments,
            target=target,
            candidate=usage.candidate,
            cap=usage.cap,
            thinned=int(((usage.keep < 1) & (usage.keep > 0)).sum()),
            with_match=round(usage.with_match / max(1, usage.segments), 4),
            used=int((usage.shares > 0).sum()),
            top_share=round(float(usage.shares.max(initial=0.0)), 6),
            evenness=round(evenness(usage.shares, len(bank)), 4),
            target_source=source,
        )
        version = bank.version if request.dry_run else self._fix(bank, sampling, usage)
        return {
            "bank": request.bank,
            "version": version,
            "dry_run": request.dry_run,
            "sampling": _sampling(sampling),
        }

    def _fix(self, bank: Bank, sampling: Sampling, usage: Usage) -> str:
        if bank.folder is not None:
            made = revise(
                Path(self._request.bank),
                lambda old: msgspec.structs.replace(old, sampling=sampling),
                usage.keep,
            )
            return made.version
        thinned = np.flatnonzero(usage.keep < 1).tolist()
        sampled = SampledBank(sampling, {bank.ids[row]: round(float(usage.keep[row]), 4) for row in thinned})
        folder = bank_folder(self._request.bank)
        part = folder / f".{SAMPLING}.part"
        part.write_bytes(
            msgspec.json.format(msgspec.json.encode(sampled, order="deterministic"), indent=1) + b"\n"
        )
        part.replace(folder / SAMPLING)
        return banks.read(folder).version

    def _target(self) -> tuple[tuple[float, ...], str]:
        """Return the shares wanted: the shipped ones, or those of a file of real queries' templates."""
        if not self._request.target:
            return TARGET, TARGET_SOURCE
        reader = Reader(self._request.columns, skip_faulty=True)
        rows = reader.read([Path(self._request.target)])
        counts = np.array([len(banks.slots(row.template)) for row in rows], dtype=np.int16)
        if not len(counts):
            raise BankError(f"{self._request.target} holds no template to count")
        shares = np.array(histogram(counts), dtype=np.float64) / len(counts)
        return tuple(round(float(share), 6) for share in shares), f"{len(counts)} templates"

    def _calibrate(self) -> dict[str, Any]:
        return calibrate_bank(
            self._opened(),
            Path(self._request.bank),
            [Path(name) for name in self._request.files],
            self._encoder,
            self._settings.match,
            precision=self._request.precision,
            few=self._request.few,
            write=not self._request.dry_run,
        )

    def _opened(self, *, verify: bool = False) -> Bank:
        directory = bank_folder(self._request.bank)
        version = version_folder(directory)
        if version is None:
            return banks.read(directory)
        return store.open_version(version, verify=verify or None)


def _facts(bank: Bank) -> dict[str, Any]:
    return {
        "bank": bank.name,
        "version": bank.version,
        "count": len(bank),
        "encoder": bank.encoder,
        "folder": str(bank.folder or ""),
        "index": msgspec.to_builtins(bank.index) if bank.index else None,
        "calibration": msgspec.to_builtins(bank.calibration) if bank.calibration else None,
    }


def _sampling(sampling: Sampling | None) -> dict[str, Any] | None:
    if sampling is None:
        return None
    shown: dict[str, Any] = msgspec.to_builtins(sampling)
    weight = weights(sampling.target, sampling.candidate)
    shown["target"] = dict(zip(BINS, sampling.target, strict=True))
    shown["candidate"] = dict(zip(BINS, sampling.candidate, strict=True))
    shown["weight"] = {name: round(float(w), 3) for name, w in zip(BINS, weight, strict=True)}
    shown["candidates"] = CANDIDATES
    return shown
