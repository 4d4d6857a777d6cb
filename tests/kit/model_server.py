"""A server that does an instantiator's and a judge's work by rule, with the fault server's faults: a process.

Asked as the released student (a JSON object with template and document), it fills each slot with the
document's first word and answers with copy tags. Asked as Flow Judge, it gives 4. The document says what
goes wrong: `[[500]]` and the like as in `fault_server.py`; `(null)` is answered with null, `(garble)` with no
JSON; an answer that the judge reads `(unclear)` in gets no score.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from aiohttp import web
from kit import fault_server

SLOT = re.compile(r"<fi>.*?</fi>")


def instantiated(template: str, document: str) -> str:
    if "(garble)" in document:
        return "I would say that"
    if "(null)" in document:
        return "null"
    words = document.split()
    answer = f"<excerpt>{' '.join(words[:3])}<...>{' '.join(words[-2:])}</excerpt>"
    return json.dumps({"instantiated_instruction": SLOT.sub(words[0], template), "answer": answer})


def said(prompt: str) -> str:
    try:
        asked = json.loads(prompt)
        return instantiated(asked["instruction_template"], asked["document"])
    except (ValueError, KeyError, TypeError):
        return "no idea" if "(unclear)" in prompt else "<feedback>It answers.</feedback>\n<score>4</score>"


class ModelServer(fault_server.FaultServer):
    async def _answer(
        self, request: web.Request, body: Any, prompt: str, choice: Any, fault: str
    ) -> web.StreamResponse:
        if fault:
            return await super()._answer(request, body, prompt, choice, fault)
        self.answered[prompt] += 1
        raw = self._json(body, prompt, choice, said(prompt), fault)
        return web.Response(text=raw, content_type="application/json")


if __name__ == "__main__":
    fault_server.FaultServer = ModelServer
    sys.exit(fault_server.main())
