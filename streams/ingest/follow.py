"""Following: look, ingest what is new and whole, look again, until told to stop.

One thread does both, so a source that takes an hour delays the look at the next by an hour; a second one
could not send before it anyway, since a lane takes one source at a time. More speed is another shard.
"""

from __future__ import annotations

import time
from typing import Final

from streams.errors import SourceUnavailable
from streams.ingest.backoff import Backoff
from streams.ingest.booking import POSTPONED
from streams.ingest.ingester import Ingester, Session
from streams.ingest.report import STOPPED, SourceReport
from streams.ingest.standing import Standing
from streams.ingest.watch import Watch

STOP_SECONDS: Final = 0.1
"""How often a pause looks whether it should stop."""

SAY_SECONDS: Final = 1.0
"""Between two counts of what is waited for."""


def follow(ingester: Ingester, watch: Watch, standing: Standing | None = None) -> None:
    """Finish what was begun, then ingest whatever appears, until `ingester.stopping()`.

    `ingester.told` hears of each source. Raises `Fenced` where another ingester takes over, `ShardMismatch`,
    and `BrokerUnreachable` where the book cannot be written; never anything that is about one source.
    """
    with ingester.open() as session:
        if session is None:
            return
        if standing is not None:
            standing.watch = watch
        if ingester.metrics is not None:
            ingester.metrics.lag.set_function(lambda: watch.lag_seconds)
        _Following(ingester, session, watch, standing).run()


class _Following:
    """One run of `follow`."""

    def __init__(self, ingester: Ingester, session: Session, watch: Watch, standing: Standing | None) -> None:
        self._ingester = ingester
        self._session = session
        self._watch = watch
        self._standing = standing
        self._backoff = Backoff()  # of sources that were begun
        self._said = 0.0

    def run(self) -> None:
        self._finish_begun()
        while not self._ingester.stopping():
            self._resume()
            for ready in self._watch.ready(self._session.book):
                if self._ingester.stopping():
                    break
                one = self._watch.still(ready)
                if one is None:
                    continue
                report = self._session.ingest(one)
                if report is None or report.outcome != STOPPED:
                    self._watch.became(one, report)
                self._tell(report)
            self._say_how_it_stands()
            self._pause(self._watch.due)

    def _finish_begun(self) -> None:
        """Finish what was open; wait where that cannot be read now, since nothing may be sent before it."""
        pause = 1.0
        for booked in self._session.book.unfinished():
            while not self._ingester.stopping():
                try:
                    self._tell(self._session.finish(booked))
                    break
                except SourceUnavailable as error:
                    self._ingester.say(f"{error}; trying again")
                    self._pause(time.monotonic() + pause)
                    pause = min(pause * 2, 60.0)

    def _resume(self) -> None:
        """Read on in what was postponed, where it is time to."""
        for booked in self._session.book.postponed():
            location = booked.booking.location
            if self._ingester.stopping() or not self._backoff.due(location, time.monotonic()):
                continue
            report = self._session.resume(booked)
            if report.outcome == POSTPONED:
                self._backoff.failed(location, time.monotonic())
            else:
                self._backoff.worked(location)
            self._tell(report)

    def _tell(self, report: SourceReport | None) -> None:
        if report is not None:
            self._ingester.told(report)
        self._say_how_it_stands()

    def _say_how_it_stands(self) -> None:
        if time.monotonic() < self._said + SAY_SECONDS:
            return  # counting what waits takes milliseconds where it is much
        self._said = time.monotonic()
        metrics = self._ingester.metrics
        if metrics is not None:
            metrics.waiting.set(self._watch.waiting)
            metrics.postponed.set(len(self._session.book.postponed()))
        if self._standing is not None:
            self._standing.write()

    def _pause(self, until: float) -> None:
        while not self._ingester.stopping() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, STOP_SECONDS))
            self._say_how_it_stands()
