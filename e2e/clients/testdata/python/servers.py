"""Servers that others wrote, each on a port of its own with TLS: PyPI's, an MCP server, gRPC, WebSocket, and one that asks
for a client certificate. Usage: servers.py DIRECTORY, where server.pem, server.key, client-ca.pem and packages/ are and
where seen.jsonl gets a line for each request: what came as its headers. Prints the ports when all listen; ends with its
standard input."""

import asyncio
import json
import pathlib
import socket
import socketserver
import ssl
import sys
import threading
import wsgiref.simple_server

import grpc
import pypiserver
import websockets.asyncio.server
from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.middleware import AsyncioWSGIMiddleware
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

home = pathlib.Path(sys.argv[1])
certificate, key = home / "server.pem", home / "server.key"


def see(server, headers):
    with (home / "seen.jsonl").open("a") as file:
        file.write(json.dumps([server, [[str(name).replace("HTTP_", "").replace("_", "-").lower(), str(value)] for name, value in headers]]) + "\n")


def seeing(server, app):
    async def wrapped(scope, receive, send):
        if scope["type"] in ("http", "websocket"):
            see(server, [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]])
        await app(scope, receive, send)

    return wrapped


def listen():
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, listener.getsockname()[1]


def web(server, app, end, **settings):
    listener, port = listen()
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.certfile, config.keyfile = str(certificate), str(key)
    config.accesslog, config.errorlog = None, str(home / "servers.log")
    for name, value in settings.items():
        setattr(config, name, value)
    return port, serve(seeing(server, app), config, shutdown_trigger=end.wait)


def mcp_app():
    server = MCPServer("adder")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Adds two numbers."""
        return a + b

    # What it hears as its host is what the client called, not the address that it listens on.
    return server.streamable_http_app(transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False))


def who(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"a client certificate is here\n"]


class ThreadingServer(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class QuietHandler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, format, *arguments):
        pass


def packages(port_of):
    """PyPI's interface over HTTP/1.0, which is what Python's own server speaks."""
    app = pypiserver.app(roots=[home / "packages"], disable_fallback=True)

    def seen(environ, start_response):
        see("pypi", [(name, value) for name, value in environ.items() if name.startswith("HTTP_")])
        return app(environ, start_response)

    server = wsgiref.simple_server.make_server("127.0.0.1", 0, seen, ThreadingServer, QuietHandler)
    server.socket = server_context().wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    port_of["pypi"] = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()


def server_context():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


async def greeter(port_of):
    async def hello(request, context):
        see("grpc", context.invocation_metadata())
        context.set_trailing_metadata((("greeted", request.decode()),))
        return b"hello " + request

    async def count(request, context):
        see("grpc", context.invocation_metadata())
        number = 0
        while int(request) == 0 or number < int(request):
            number += 1
            yield str(number).encode()
            await asyncio.sleep(0.02)
        context.set_trailing_metadata((("counted", str(number)),))

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((
        grpc.method_handlers_generic_handler("clients.Greeter", {
            "Hello": grpc.unary_unary_rpc_method_handler(hello),
            "Count": grpc.unary_stream_rpc_method_handler(count),
        }),
    ))
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    port_of["grpc"] = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    return server


async def socket_server(port_of):
    async def converse(connection):
        see("socket", connection.request.headers.raw_items())
        async for message in connection:
            await connection.send(f"you said {message}")

    server = await websockets.asyncio.server.serve(converse, "127.0.0.1", 0, ssl=server_context())
    port_of["socket"] = server.sockets[0].getsockname()[1]
    return server


async def main():
    end, port_of, running = asyncio.Event(), {}, []
    packages(port_of)
    for name, app, settings in (
        ("mcp", mcp_app(), {}),
        ("mutual", AsyncioWSGIMiddleware(who), {"ca_certs": str(home / "client-ca.pem"), "verify_mode": ssl.CERT_REQUIRED}),
    ):
        port_of[name], server = web(name, app, end, **settings)
        running.append(asyncio.create_task(server))
    grpc_server, socket_ = await greeter(port_of), await socket_server(port_of)
    print(json.dumps(port_of), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    end.set()
    socket_.close()
    await grpc_server.stop(0)
    await asyncio.wait(running, timeout=2)


asyncio.run(main())
