"""The connection to one server: where the key goes, how often a call is tried, how an answer is read."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import httpx

from caracal import _operations as op
from caracal import _states, _wire, errors
from caracal._async.runtime import Lock, sleep
from caracal._wire import Answer, Call
from caracal.models import AccessToken
from caracal.records import Page, Record

if TYPE_CHECKING:
    from typing_extensions import Self

R = TypeVar("R", bound=Record)

log = logging.getLogger("caracal")

# An access token is renewed when this share of its life is over, in every case before it ends.
RENEWAL = 0.75
# How long a token that is still good is used after its renewal failed, in seconds, before the next attempt.
RENEWAL_PAUSE = 5.0


class AsyncConnection:
    """What all clients have in common."""

    def __init__(
        self,
        base_url: str,
        api_key: str | Callable[[], str],
        *,
        timeout: float = 30.0,
        retries: int = 3,
        ca_file: str | None = None,
        client_certificate: tuple[str, str] | None = None,
        allow_plain: bool = False,
        consistent: bool = True,
    ) -> None:
        """Make a client. It does not call the server yet.

        Args:
            base_url: address of the server. `http://` is for this machine only, unless `allow_plain` is set.
            api_key: the API key, or a JWT of an issuer that the workspace trusts; or a function that returns one, which
                is asked before each call, for credentials that change, such as a projected service-account token.
            timeout: seconds that connecting, and each piece of an answer, may take.
            retries: how many more times a call is tried when there is no answer, or one of 429, 502, 503 or 504.
                Between two attempts is a random pause of at most 8 seconds, or what the server asks for up to a minute.
                Writes are sent with the same idempotency key each time, so that they happen once.
            ca_file: file of PEM certificates that the server may chain to, beside the public ones.
            client_certificate: files of a certificate and its key, both PEM, to show to a server that asks for one.
            allow_plain: send the key over a network without TLS, in a closed network.
            consistent: send along which states the client has seen, so that no answer is from before them.

        Raises:
            ValueError: an argument is malformed, or the key would go over a network unencrypted.
        """
        if timeout <= 0 or retries < 0:
            raise ValueError("timeout must be more than 0, and retries not less")
        self._base_url = _wire.base_url(base_url, allow_plain)
        self._credential = api_key if callable(api_key) else _wire.Secret(api_key)
        self._timeout = timeout
        self._retries = retries
        self._states = _states.States(consistent)
        self._context = _wire.tls(ca_file, client_certificate)
        encrypted = self._base_url.startswith("https:")
        self._http = httpx.AsyncClient(
            verify=self._context,
            timeout=timeout,
            follow_redirects=False,
            # A proxy of the environment sees what goes unencrypted; this machine is reached without one.
            trust_env=encrypted,
            headers={"User-Agent": _wire.USER_AGENT},
        )
        self._token_lock = Lock()
        self._access_token: _wire.Secret | None = None
        self._exchanged_at = self._renew_at = self._expires_at = 0.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._base_url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. HTTP clients that were made of this one have their own."""
        await self._http.aclose()

    @property
    def state_token(self) -> str:
        """What the client has seen, for another client or process to be shown nothing older; empty for nothing."""
        return self._states.header()

    @state_token.setter
    def state_token(self, seen: str) -> None:
        self._states.take(seen)

    async def token(self) -> str:
        """An access token for `Authorization: Bearer` at a gateway, exchanged for the API key.

        It is kept and renewed before it ends, so that calling this for every request is cheap. When it cannot be
        renewed, the one before it is returned for as long as it is good. A JWT of a trusted issuer is returned as is.

        Returns:
            The token. It is a credential: do not print or keep it.

        Raises:
            AuthenticationFailed: the key is wrong, expired or revoked.
            CaracalError: the exchange failed otherwise, and there is no token that is still good.
        """
        credential = self._reveal()
        if not credential.startswith("ck_"):
            return credential
        async with self._token_lock:
            now = time.time()
            if self._access_token is None or now >= self._renew_at:
                try:
                    await self._exchange()
                except (errors.Unreachable, errors.Unavailable, errors.RateLimited):
                    if self._access_token is None or time.time() >= self._expires_at:
                        self._access_token = None
                        raise
                    self._renew_at = time.time() + RENEWAL_PAUSE
                except errors.CaracalError:
                    self._access_token = None
                    raise
            if self._access_token is None:
                raise errors.UnexpectedAnswer("the server exchanged no token")
            return self._access_token.reveal()

    async def _exchange(self) -> None:
        asked = time.time()
        answer = (await self._send(Call(op.EXCHANGE_TOKEN))).record(AccessToken)
        try:
            self._access_token = _wire.Secret(answer.access_token)
        except ValueError:
            raise errors.UnexpectedAnswer("the server's access token is malformed") from None
        self._exchanged_at = asked
        self._expires_at = asked + answer.expires_in
        self._renew_at = asked + answer.expires_in * RENEWAL

    def _token_refused(self) -> None:
        """Exchange the key anew before the next request, unless that has just happened: then it is not to blame."""
        if time.time() - self._exchanged_at > RENEWAL_PAUSE:
            self._renew_at = 0.0

    def _reveal(self) -> str:
        if isinstance(self._credential, _wire.Secret):
            return self._credential.reveal()
        return _wire.Secret(self._credential()).reveal()

    async def _record(self, kind: type[R], call: Call) -> R:
        return (await self._send(call)).record(kind)

    async def _page(self, kind: type[R], call: Call) -> Page[R]:
        return (await self._send(call)).page(kind)

    async def _pages(self, kind: type[R], call: Call) -> AsyncIterator[R]:
        """Every thing of every page, a page at a time."""
        query = {"limit": _wire.PAGE_SIZE, **call.query}
        while True:
            page = await self._page(kind, Call(call.operation, path=call.path, query=query))
            for each in page:
                yield each
            if page.next_cursor is None:
                return
            if page.next_cursor == query.get("cursor"):
                raise errors.UnexpectedAnswer("the server's next page is the one before it")
            query["cursor"] = page.next_cursor

    async def _send(self, call: Call, *, authenticated: bool = True) -> Answer:
        """Make a call, as often as it takes and is allowed.

        Raises:
            CaracalError: the call was refused, or there is no answer.
        """
        attempt = 0
        while True:
            try:
                answer = await self._attempt(call, authenticated)
                if answer.succeeded:
                    return answer
                error = _wire.refusal(answer)
                if error.code == "state_unknown":
                    self._states.forget()
                    raise error
            except errors.Unreachable as unreachable:
                error = unreachable
            pause = _wire.pause_before(attempt, error) if attempt < self._retries else None
            if pause is None:
                raise error
            log.debug("%s again in %.1f s: %s", call.operation.name, pause, error.code)
            await sleep(pause)
            attempt += 1

    async def _attempt(self, call: Call, authenticated: bool) -> Answer:
        async with self._stream(call, authenticated) as response:
            most = _wire.MAX_ANSWER if response.is_success else _wire.MAX_PROBLEM
            # What comes a byte at a time within the timeout of each would never end.
            deadline = time.monotonic() + 4 * self._timeout + call.patience
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > most:
                    raise errors.UnexpectedAnswer(
                        f"the answer is larger than {most} bytes", status=response.status_code
                    )
                if time.monotonic() > deadline:
                    raise errors.Unreachable("the server did not end its answer in time")
            return Answer(response.status_code, response.headers, bytes(content))

    @asynccontextmanager
    async def _stream(self, call: Call, authenticated: bool = True) -> AsyncIterator[httpx.Response]:
        """An answer whose body has not been read. What the library raises becomes an error of ours."""
        headers = dict(call.headers)
        if authenticated:
            headers["Authorization"] = f"Bearer {self._reveal()}"
        if seen := self._states.header():
            headers[_states.HEADER] = seen
        content = call.content()
        if content is not None:
            headers["Content-Type"] = "application/json"
        timeout = httpx.Timeout(self._timeout, read=self._timeout + call.patience)
        url = self._base_url + call.url()
        try:
            async with self._http.stream(
                call.operation.method, url, params=call.parameters(), content=content, headers=headers, timeout=timeout
            ) as response:
                self._states.take(response.headers.get(_states.HEADER))
                yield response
        except httpx.RequestError as error:
            # The library's error holds the request, and with it the key.
            raise _wire.lost(error) from None
        except httpx.InvalidURL:
            raise errors.InvalidRequest("base_url is not a URL") from None
