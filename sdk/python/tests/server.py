"""A real HTTP server on this machine that answers what a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass
class Told:
    """One answer as it is to be given."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    # Closes the connection instead of answering.
    hang_up: bool = False


def json_answer(value: object, status: int = 200, **headers: str) -> Told:
    media_type = "application/problem+json" if status >= 400 else "application/json"
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Told(status, json.dumps(value).encode(), {"Content-Type": media_type, **names})


def problem(status: int, code: str, /, **fields: object) -> Told:
    retry_after = fields.pop("retry_after", None)
    headers = {} if retry_after is None else {"Retry_After": str(retry_after)}
    return json_answer({"status": status, "code": code, "title": "t", "detail": "d", **fields}, status, **headers)


class Server:
    """Answers by a function, and remembers what came."""

    def __init__(self, answer: Callable[[Seen], Told]) -> None:
        self.seen: list[Seen] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                url = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.command, url.path, dict(parse_qsl(url.query, keep_blank_values=True)), headers, body)
                owner.seen.append(seen)
                told = answer(seen)
                if told.hang_up:
                    self.close_connection = True
                    return
                self.send_response(told.status)
                for name, value in told.headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in told.headers:
                    self.send_header("Content-Length", str(len(told.body)))
                self.end_headers()
                self.wfile.write(told.body)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"


@contextmanager
def serving(answer: Callable[[Seen], Told] | list[Told]) -> Iterator[Server]:
    """A server that answers by a function, or one answer after the other; the last one again and again."""
    if isinstance(answer, list):
        answers = list(answer)

        def in_turn(_seen: Seen) -> Told:
            return answers.pop(0) if len(answers) > 1 else answers[0]

        server = Server(in_turn)
    else:
        server = Server(answer)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
