"""`finestream ingest` from a slow disk: documents come in bursts, and what is sent lingers before it leaves.

So a kill or a stop falls into a source, with batches that were handed over and are not yet on their way.
`SLOW_BURST` documents come at once, then `SLOW_SECONDS` pass for each of them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any


def main() -> None:
    burst, seconds = int(os.environ["SLOW_BURST"]), float(os.environ["SLOW_SECONDS"])
    from streams import clients
    from streams.cli import main as finestream
    from streams.ingest import ingester

    open_reader, sync_producer = ingester.open_reader, clients.sync_producer

    class Slow:
        def __init__(self, opened: Any) -> None:
            self.opened = opened
            self.tell, self.identity, self.close = opened.tell, opened.identity, opened.close

        def __iter__(self) -> Iterator[Any]:
            for number, item in enumerate(self.opened, 1):
                yield item
                if number % burst == 0:
                    time.sleep(burst * seconds)

    def slowly(*arguments: Any) -> Slow | None:
        opened = open_reader(*arguments)
        return Slow(opened) if opened is not None else None

    def lingering(settings: Any, **more: Any) -> Any:
        return sync_producer(settings, **{"linger_ms": 200, **more})

    ingester.open_reader = slowly
    clients.sync_producer = lingering
    sys.argv = ["finestream", "ingest", *sys.argv[1:]]
    finestream()


if __name__ == "__main__":
    main()
