"""A session of `requests` that goes through a gateway."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urldefrag, urlsplit

import requests
from requests.adapters import HTTPAdapter

from caracal import _governed


class GatewayAdapter(HTTPAdapter):
    """Sends every request to the gateway, and shows the session an answer of the target that it asked for."""

    def __init__(self, proxy_url: str, mandate: str, token: Callable[[], str], context: ssl.SSLContext) -> None:
        self._proxy_url = proxy_url
        self._mandate = mandate
        self._token = token
        self._context = context
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Trust what the client trusts."""
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)

    def cert_verify(self, conn: Any, url: str, verify: bool | str, cert: Any) -> None:
        """Verify the gateway by the context alone, with no other roots than the client's."""
        if url.lower().startswith("https"):
            conn.cert_reqs = "CERT_REQUIRED"

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send one request.

        The target is the gateway's to reach and to verify, so proxies, CA files and client certificates that were meant
        for it have no use here.
        """
        target = target_of(request.url or "")
        sent = request.copy()
        sent.url = self._proxy_url
        pairs = [(text(name), text(value)) for name, value in request.headers.items()]
        rewritten = _governed.headers(pairs, target, self._mandate, self._token())
        sent.headers = requests.structures.CaseInsensitiveDict(rewritten)
        answer = super().send(sent, stream=stream, timeout=timeout, verify=True, cert=None, proxies=None)
        # Redirects, cookies and errors are about the target: the session goes on from its address.
        return self.build_response(request, answer.raw)


def text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def target_of(url: str) -> str:
    """The URL without what is never sent: the fragment, and a user that has become a header already."""
    parts = urlsplit(urldefrag(url).url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def session(proxy_url: str, mandate: str, token: Callable[[], str], context: ssl.SSLContext) -> requests.Session:
    """A session whose every request goes through the gateway."""
    made = requests.Session()
    adapter = GatewayAdapter(proxy_url, mandate, token, context)
    made.mount("http://", adapter)
    made.mount("https://", adapter)
    made.trust_env = False
    return made
