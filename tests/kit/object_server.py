"""A real HTTP server of one object that can be made to misbehave: resets, 503s, short answers, no ranges."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_HTML = [("Content-Type", "text/html")]


class ObjectServer:
    """Serves `objects` by path. `faults` are taken one a GET, in order: names of what to do wrong."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.faults: list[str] = []
        self.ranges = True
        self.requests: list[str] = []  # methods and ranges that came
        self.listings: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._answer(send=False)

            def do_GET(self) -> None:
                self._answer(send=True)

            def _answer(self, send: bool) -> None:  # noqa: PLR0911
                wanted = self.headers.get("Range", "")
                outer.requests.append(f"{self.command} {wanted}".strip())
                if self.path in outer.listings:
                    return self._send(200, outer.listings[self.path].encode(), _HTML)
                data = outer.objects.get(self.path)
                if data is None:
                    return self._send(404, b"")
                fault = outer.faults.pop(0) if send and outer.faults else ""
                if fault == "reset":
                    self.close_connection = True
                    return None
                if fault.isdigit():
                    return self._send(int(fault), b"busy")
                headers = [("ETag", outer.etags[self.path])] if self.path in outer.etags else []
                found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
                if not (found and outer.ranges):
                    extra = [("Accept-Ranges", "bytes" if outer.ranges else "none")]
                    return self._send(200, data, headers + extra, send)
                start, end = int(found[1]), int(found[2] or len(data) - 1)
                body = data[start : end + 1]
                headers.append(("Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(data)}"))
                if fault == "short":  # fewer bytes, correctly framed
                    body = body[: len(body) // 2]
                if fault == "cut":  # fewer bytes than announced
                    headers.append(("Content-Length", str(len(body))))
                    self._send(206, body[: len(body) // 2], headers, announce=False)
                    self.close_connection = True
                    return None
                return self._send(206, body, headers, send)

            def _send(
                self, status: int, body: bytes, headers: Any = (), send: bool = True, announce: bool = True
            ) -> None:
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                if announce:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if send:
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator[ObjectServer]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()
