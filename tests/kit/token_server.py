"""A server as `finestream engine` starts one: the fault server with vLLM's token counters, and with children.

`token_server.py --port N --about FOLDER [--start-seconds S] [--exit WORDS] [--faults JSON]`. It starts a
child in its group and one in a session of its own, and writes the pids of all three into FOLDER/pids, a line
a start.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from aiohttp import web
from kit import fault_server
from kit.fault_server import Faults, FaultServer

SLEEP = "import time; time.sleep(1000)"


class TokenServer(FaultServer):
    async def _metrics(self, request: web.Request) -> web.Response:
        tokens = float(sum(self.answered.values()))
        said = (await super()._metrics(request)).text
        return web.Response(
            text=f"{said}# TYPE vllm:generation_tokens counter\n"
            f'vllm:generation_tokens_total{{engine="0",model_name="default"}} {tokens}\n'
            f'vllm:prompt_tokens_total{{engine="0",model_name="default"}} {tokens}\n'
        )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--about", type=Path, required=True)
    parser.add_argument("--start-seconds", type=float, default=0.0)
    parser.add_argument("--exit", default="")
    parser.add_argument("--faults", type=json.loads, default={})
    arguments = parser.parse_args()
    children = [
        subprocess.Popen([sys.executable, "-S", "-c", SLEEP], start_new_session=own) for own in (False, True)
    ]
    with (arguments.about / "pids").open("a") as out:
        print(os.getpid(), *(child.pid for child in children), file=out)
    if arguments.exit:
        print(f"INFO nothing special\nValueError: {arguments.exit}", flush=True)
        return 1
    time.sleep(arguments.start_seconds)
    asyncio.run(fault_server.serve(arguments.port, Faults(**arguments.faults)))
    return 0


if __name__ == "__main__":
    fault_server.FaultServer = TokenServer
    sys.exit(main())
