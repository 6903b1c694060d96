# Generated from caracal._sync by generate/sync.py; change that.

"""The client of programs that act under a mandate, and their way through the gateway."""

from __future__ import annotations

import importlib
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, TypedDict

import httpx

from caracal import _governed, _states
from caracal import _operations as op
from caracal._governed import GatewayHealth
from caracal._sync.mandates import Mandates
from caracal._wire import Call
from caracal.errors import EnterpriseClientRequired
from caracal.models import Mandate

if TYPE_CHECKING:
    from typing_extensions import Self

# How long a target may take to go on with its answer, in seconds, unless the caller says otherwise.
TARGET_TIMEOUT = 60.0


class ProviderArguments(TypedDict):
    """Keyword arguments of a provider's client."""

    api_key: str
    http_client: Any


class GatewayTransport:
    """Sends every request to the gateway, with the mandate, and says nothing of it in the answer.

    The HTTP library above it goes on as if it had talked to the target: redirects, cookies and errors are about that.
    Nothing is tried twice.
    """

    def __init__(self, client: Authority, mandate: str, library: ModuleType) -> None:
        self._client = client
        self._mandate = mandate
        self._library = library
        self._inner = library.HTTPTransport(verify=client._context, trust_env=False)
        self._url = library.URL(client._base_url + "/api/proxy")

    def handle_request(self, request: Any) -> Any:
        url = request.url
        target = f"{url.scheme}://{url.netloc.decode('ascii')}{url.raw_path.decode('ascii')}"
        pairs = [(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers.raw]
        token = self._client.token()
        host = self._url.netloc.decode("ascii")
        rewritten = [("Host", host), *_governed.headers(pairs, target, self._mandate, token)]
        if seen := self._client.state_token:
            rewritten.append((_states.HEADER, seen))
        sent = self._library.Request(
            request.method,
            self._url,
            headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in rewritten],
            stream=request.stream,
            extensions={k: v for k, v in request.extensions.items() if k in ("timeout", "trace")},
        )
        response = self._inner.handle_request(sent)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self._client._token_refused()
        return response

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self._inner.__exit__(kind, error, trace)


class Authority(Mandates):
    """Operations of an agent, and HTTP clients that act under one of its mandates."""

    def http_client(self, mandate: Mandate | str, *, timeout: float = TARGET_TIMEOUT) -> httpx.Client:
        """An HTTP client whose every request goes through the gateway, under the mandate.

        Requests name their target as ever; a header `Authorization` is the target's. What the gateway denies comes back
        as a response: `denial_of(response)` tells it from the target's own refusals. Nothing is tried twice. Close it
        when it is no longer needed, before this client.

        Args:
            mandate: the mandate, or its id.
            timeout: seconds that connecting, and each piece of an answer, may take.
        """
        bounds = httpx.Timeout(timeout, connect=min(timeout, 10.0))
        client: httpx.Client = self._http_client(httpx, mandate, timeout=bounds)
        return client

    def openai(self, mandate: Mandate | str, *, api_key: str | None = None) -> ProviderArguments:
        """Keyword arguments that let a client of the package `openai` go through the gateway.

        The client's own settings hold, such as how often it repeats what failed. What the gateway denies is an
        `openai.APIStatusError`, for which `denial_of(error)` says why.

        Args:
            mandate: the mandate, or its id.
            api_key: the provider's key; without it the destination's credential is set by the gateway.

        Raises:
            ModuleNotFoundError: the package is not installed.
        """
        return self._provider("openai", mandate, api_key)

    def anthropic(self, mandate: Mandate | str, *, api_key: str | None = None) -> ProviderArguments:
        """Keyword arguments that let a client of the package `anthropic` go through the gateway.

        The client's own settings hold, such as how often it repeats what failed. What the gateway denies is an
        `anthropic.APIStatusError`, for which `denial_of(error)` says why.

        Args:
            mandate: the mandate, or its id.
            api_key: the provider's key; without it the destination's credential is set by the gateway.

        Raises:
            ModuleNotFoundError: the package is not installed.
        """
        return self._provider("anthropic", mandate, api_key)

    def health(self) -> GatewayHealth:
        """Ask the gateway how it is, without a key."""
        return (self._send(Call(op.HEALTH), authenticated=False)).record(GatewayHealth)

    def sync_gateway(self) -> GatewayHealth:
        """Let the gateway look for changes now, and say how it is afterwards. It looks once a second at most."""
        return (self._send(Call(SYNC), authenticated=False)).record(GatewayHealth)

    def _provider(self, package: str, mandate: Mandate | str, api_key: str | None) -> ProviderArguments:
        # The library's own timeout stands for none of the caller's: providers' clients put theirs in its place.
        client = self._http_client(_governed.library_of(package), mandate)
        return {"api_key": api_key or _governed.NO_KEY, "http_client": client}

    def _http_client(self, library: ModuleType, mandate: Mandate | str, **arguments: Any) -> Any:
        transport = GatewayTransport(self, _governed.mandate_id(mandate), library)
        return library.Client(transport=transport, trust_env=False, **arguments)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """What only the other client has, as a function that says so."""
            if name.startswith("_") or not hasattr(importlib.import_module(ENTERPRISE).EnterpriseClient, name):
                raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

            def required(*_arguments: object, **_named: object) -> None:
                raise EnterpriseClientRequired(name)

            return required


ENTERPRISE = "caracal.enterprise.sdk"
# An endpoint of gateways alone, which the control plane's document does not have.
SYNC = op.Operation("syncGateway", "POST", "/admin/sync")
