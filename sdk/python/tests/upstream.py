"""A local HTTPS upstream that answers as providers do: OpenAI's and Anthropic's formats, and an MCP server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trustme
import uvicorn
from mcp.server import MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

WORDS = ["Caracal ", "is ", "a ", "cat."]
HOSTS = ("api.openai.com", "api.anthropic.com", "tools.caracal.test")


class Upstream:
    """The upstream, in a thread of its own. `seen` are the requests that arrived, each with its path and headers."""

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        self.seen: list[tuple[str, dict[str, str]]] = []
        # A stream goes on behind its first message only when this is set: what arrives before was not held back.
        self.go_on = threading.Event()
        authority = trustme.CA()
        certificate = authority.issue_cert(*HOSTS)
        self.ca = authority.cert_pem.bytes().decode()
        files = directory / "upstream.key", directory / "upstream.pem"
        certificate.private_key_pem.write_to_path(files[0])
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(files[1], append=True)
        config = uvicorn.Config(
            self.application(),
            host="127.0.0.1",
            port=port,
            ssl_keyfile=str(files[0]),
            ssl_certfile=str(files[1]),
            log_level="error",
            timeout_graceful_shutdown=1,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)

    def start(self) -> None:
        self.thread.start()
        while not self.server.started:
            if not self.thread.is_alive():
                raise RuntimeError("the upstream does not start")
            threading.Event().wait(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()

    def application(self) -> Starlette:
        tools = MCPServer("tools")

        @tools.tool()
        def add(a: int, b: int) -> int:
            """Add two numbers."""
            return a + b

        app = tools.streamable_http_app(streamable_http_path="/mcp", host="tools.caracal.test")

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            async with app.router.lifespan_context(app):
                yield

        routes = [
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/messages", self.messages, methods=["POST"]),
            Route("/v1/models", self.models),
            Route("/v1/moved", self.moved),
            Route("/v1/forbidden", self.forbidden),
            Mount("/", app),
        ]
        return Starlette(routes=routes, lifespan=lifespan)

    def note(self, request: Request) -> None:
        self.seen.append((request.url.path, dict(request.headers)))

    async def models(self, request: Request) -> Response:
        self.note(request)
        return JSONResponse({"object": "list", "data": []}, headers={"Set-Cookie": "session=1; Path=/"})

    async def moved(self, request: Request) -> Response:
        self.note(request)
        return RedirectResponse("/v1/models")

    async def forbidden(self, request: Request) -> Response:
        self.note(request)
        return JSONResponse({"error": {"message": "no such plan"}}, 403)

    async def chat(self, request: Request) -> Response:
        self.note(request)
        asked = await request.json()
        base = {"id": "chatcmpl-1", "created": 1, "model": asked["model"]}
        if asked.get("stream"):
            chunks = [
                {**base, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": word}}]}
                for word in WORDS
            ]
            return self.events([(None, chunk) for chunk in chunks], end="[DONE]")
        message = {"role": "assistant", "content": "".join(WORDS)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse({**base, "object": "chat.completion", "choices": [choice]})

    async def messages(self, request: Request) -> Response:
        self.note(request)
        asked = await request.json()
        usage = {"input_tokens": 1, "output_tokens": 4}
        base = {"id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"], "stop_sequence": None}
        if asked.get("stream"):
            start = {**base, "content": [], "stop_reason": None, "usage": usage}
            deltas = [
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
                for word in WORDS
            ]
            told: list[dict[str, object]] = [
                {"type": "message_start", "message": start},
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                *deltas,
                {"type": "content_block_stop", "index": 0},
                {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
                {"type": "message_stop"},
            ]
            return self.events([(str(each["type"]), each) for each in told], behind=3)
        text = [{"type": "text", "text": "".join(WORDS)}]
        return JSONResponse({**base, "content": text, "stop_reason": "end_turn", "usage": usage})

    def events(
        self, messages: list[tuple[str | None, object]], end: str | None = None, behind: int = 1
    ) -> StreamingResponse:
        """Server-sent events; from one on they are sent when the test says so."""

        async def stream() -> AsyncIterator[str]:
            for index, (name, message) in enumerate(messages):
                if index == behind and not await asyncio.to_thread(self.go_on.wait, 20):
                    raise RuntimeError("nobody has received the first message")
                yield (f"event: {name}\n" if name else "") + f"data: {json.dumps(message)}\n\n"
            if end:
                yield f"data: {end}\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")
