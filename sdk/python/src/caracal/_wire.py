"""How a call is made and its answer read, without doing either: no I/O, no clock."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import random
import re
import ssl
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import httpx

from caracal import __version__, errors
from caracal._operations import Operation
from caracal.records import Page, Record, build

R = TypeVar("R", bound=Record)

USER_AGENT: Final = f"caracal-python/{__version__}"
# The largest answer that is read, in bytes; an export is read piece by piece and has no bound.
MAX_ANSWER: Final = 64 << 20
MAX_PROBLEM: Final = 1 << 20
MAX_MESSAGE: Final = 4 << 20
PAGE_SIZE: Final = 200
# Seconds for which the control plane waits for the gateways unless told.
DEFAULT_WAIT: Final = 10.0
# The longest pause between two attempts, in seconds, and the longest that a server may ask for.
MAX_PAUSE: Final = 8.0
MAX_RETRY_AFTER: Final = 60.0

VISIBLE = re.compile(r"[!-~]+")
DECISION_ID = re.compile(r"dec_[a-z2-7]{26}")
REASON = re.compile(r"[a-z][a-z_]{0,63}")

BY_STATUS: Final[Mapping[int, type[errors.CaracalError]]] = {
    400: errors.InvalidRequest,
    401: errors.AuthenticationFailed,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    409: errors.Conflict,
    412: errors.PreconditionFailed,
    422: errors.AuthorityRefused,
    429: errors.RateLimited,
    502: errors.Unavailable,
    503: errors.Unavailable,
    504: errors.Unavailable,
}


class Secret:
    """A credential that no text of ours shows."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        # The value is not in the message: what is malformed may be most of a good key.
        if not VISIBLE.fullmatch(value) or len(value) > 16 << 10:
            raise ValueError("the API key is empty, or has a space or another character that no key has")
        self._value = value

    def reveal(self) -> str:
        """The credential itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> str:
        raise TypeError("a client holds a credential and cannot be pickled")


@dataclass(frozen=True)
class Call:
    """One call of an operation."""

    operation: Operation
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    # How many seconds longer than others the answer may take.
    patience: float = 0.0

    def url(self) -> str:
        """The path, below the base URL, with its query."""
        segments = {name: quote(value, safe="") for name, value in self.path.items()}
        if any(segment in ("", ".", "..") for segment in segments.values()):
            raise errors.InvalidRequest("an id is empty, or is not an id", field=next(iter(segments)))
        return self.operation.path.format(**segments)

    def parameters(self) -> dict[str, str]:
        """The query; what is None is left out."""
        return {name: text(value) for name, value in self.query.items() if value is not None}

    def content(self) -> bytes | None:
        """The body as JSON; what is None in it is left out."""
        if self.body is None:
            return None
        body = {k: v for k, v in self.body.items() if v is not None} if isinstance(self.body, dict) else self.body
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()


def text(value: object) -> str:
    """A parameter as the interface writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return str(value)


def writing(idempotency_key: str | None, if_match: str | None = None) -> dict[str, str]:
    """Headers of a write: with the same key it happens once, however often it is sent."""
    once = str(uuid.uuid4()) if idempotency_key is None else idempotency_key
    headers = {"Idempotency-Key": header("idempotency_key", once)}
    if if_match is not None:
        headers["If-Match"] = header("if_match", if_match)
    return headers


def header(name: str, value: str) -> str:
    """A value that may be a header's."""
    if not VISIBLE.fullmatch(value) or len(value) > 255:
        raise errors.InvalidRequest("it is not one to 255 visible ASCII characters", field=name)
    return value


@dataclass(frozen=True)
class Answer:
    """What came back, read to its end."""

    status: int
    headers: httpx.Headers
    content: bytes

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body, which must be JSON that everybody reads alike."""
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in ("application/json", "application/problem+json"):
            raise self.unexpected(f"an answer of type {media_type[:80] or 'none'!r}")
        return parse(self.content, self.status)

    def record(self, kind: type[R]) -> R:
        """The one thing that the body is."""
        record = build(kind, self.json())
        record.etag = self.headers.get("etag")
        return record

    def page(self, kind: type[R]) -> Page[R]:
        """The page that the body is: a list, or an object with `items` and `next_cursor`."""
        value = self.json()
        cursor = self.headers.get("x-caracal-next-cursor")
        if isinstance(value, dict):
            cursor, value = value.get("next_cursor"), value.get("items")
        if not isinstance(value, list) or not (cursor is None or isinstance(cursor, str)):
            raise self.unexpected("something else than a page")
        return Page((build(kind, each) for each in value), cursor or None)

    def unexpected(self, what: str) -> errors.UnexpectedAnswer:
        return errors.UnexpectedAnswer(f"the server answered {self.status} with {what}", status=self.status)


def parse(content: bytes, status: int | None = None) -> Any:
    """Read JSON, and refuse what two readers could take for different things."""
    try:
        return json.loads(content, object_pairs_hook=unique, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        # The answer itself stays out of the error: nobody knows what it holds.
        raise errors.UnexpectedAnswer("the server answered something that is not JSON", status=status) from None


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def refusal(answer: Answer) -> errors.CaracalError:
    """The error that an answer is."""
    if 300 <= answer.status < 400:
        return answer.unexpected("a redirect, which is not followed: it would take the key somewhere else")
    try:
        problem = answer.json()
    except errors.UnexpectedAnswer:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    kind = BY_STATUS.get(answer.status, errors.ServerError if answer.status >= 500 else errors.CaracalError)
    code = string(problem, "code")
    reason = string(problem, "reason")
    message = string(problem, "detail") or string(problem, "message") or string(problem, "title")
    if code is None and REASON.fullmatch(string(problem, "error") or ""):
        # A gateway's own words: the same names as its denials.
        code = reason = string(problem, "error")
    if code is None:
        if kind is not errors.Unavailable:
            return answer.unexpected("something that is not an answer of Caracal's")
        message = f"the server answered {answer.status}"
    return kind(
        message or "the server gives no reason",
        code=code,
        field=string(problem, "field"),
        reason=reason,
        status=answer.status,
        request_id=string(problem, "request_id"),
        retry_after=seconds(answer.headers.get("retry-after")),
        problems=[p for p in problem.get("problems") or [] if isinstance(p, dict)]
        if isinstance(problem.get("problems"), list)
        else None,
        changes=changes if isinstance(changes := problem.get("changes"), dict) else None,
    )


def string(problem: Mapping[str, object], name: str) -> str | None:
    value = problem.get(name)
    return value[:2000] if isinstance(value, str) and value else None


def seconds(value: str | None) -> float | None:
    """A Retry-After in seconds. Caracal sends no dates; one that something in between sends counts as none."""
    return float(value) if value and re.fullmatch(r"[0-9]{1,6}", value) else None


def denial(status: int, content_type: str | None, content: bytes) -> errors.Denied | None:
    """The denial that an answer of `/api/proxy` is, if it has the form that a gateway gives its denials."""
    if status < 400 or len(content) > 64 << 10 or (content_type or "").partition(";")[0].strip() != "application/json":
        return None
    try:
        body = parse(content)
    except errors.UnexpectedAnswer:
        return None
    if not isinstance(body, dict) or not {"error", "message", "decision_id"} <= body.keys() <= DENIAL_FIELDS:
        return None
    reason, decision = body["error"], body["decision_id"]
    if not isinstance(reason, str) or not REASON.fullmatch(reason) or not isinstance(body["message"], str):
        return None
    if decision is not None and not (isinstance(decision, str) and DECISION_ID.fullmatch(decision)):
        return None
    code = string(body, "code")
    return errors.Denied(body["message"], reason=reason, status=status, decision_id=decision, policy_code=code)


DENIAL_FIELDS: Final = frozenset({"error", "message", "decision_id", "code"})


def pause_before(attempt: int, error: errors.CaracalError) -> float | None:
    """Seconds to wait before another attempt, or None where there is to be none.

    The pause is between nothing and a bound that doubles, so that clients that failed together do not come back
    together; a server that asks for more gets more.
    """
    if not isinstance(error, (errors.Unreachable, errors.Unavailable, errors.RateLimited)):
        return None
    if error.retry_after is not None and error.retry_after > MAX_RETRY_AFTER:
        return None
    spread = random.uniform(0, min(MAX_PAUSE, 0.25 * 2**attempt))  # noqa: S311 - no secret comes of it
    return (error.retry_after or 0.0) + spread


def lost(error: httpx.RequestError) -> errors.CaracalError:
    """The error of a call that got no answer. Its text tells the kind only: the library's may quote a header."""
    if isinstance(error, (httpx.LocalProtocolError, httpx.UnsupportedProtocol)):
        return errors.InvalidRequest("the request cannot be sent over HTTP")
    if isinstance(error, httpx.DecodingError):
        return errors.UnexpectedAnswer("the server's answer is compressed in a way that cannot be read")
    if isinstance(error, httpx.ConnectError):
        cause = str(error)[:200]
        return errors.Unreachable(f"no connection to the server: {cause}" if cause else "no connection to the server")
    if isinstance(error, httpx.TimeoutException):
        return errors.Unreachable("the server did not answer in time")
    return errors.Unreachable("the connection broke off before the answer was complete")


def base_url(url: str, allow_plain: bool) -> str:
    """Check where a key may go, and return the address without its last slash."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("base_url is not a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("base_url is not of the form https://host[:port]")
    if "@" in parts.netloc:
        raise ValueError("base_url holds a user or a password: a key goes into api_key")
    if parts.query or parts.fragment:
        raise ValueError("base_url has a query or a fragment")
    if parts.scheme == "http" and not allow_plain and not loopback(parts.hostname):
        origin = f"{parts.scheme}://{parts.netloc}"
        raise ValueError(f"{origin} would get the key unencrypted: use https, or allow_plain=True in a closed network")
    return url.rstrip("/")


def loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tls(ca_file: str | None, client_certificate: tuple[str, str] | None) -> ssl.SSLContext:
    """The public roots, or those of SSL_CERT_FILE, and those of the file; and the certificate to show."""
    context = httpx.create_ssl_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    if client_certificate is not None:
        context.load_cert_chain(*client_certificate)
    return context


def confirmation_of(certificate: str) -> dict[str, str]:
    """What binds a mandate to a client certificate (RFC 8705): only who shows it at a gateway can use the mandate.

    Args:
        certificate: the certificate as PEM text.

    Raises:
        ValueError: it is not a certificate.
    """
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    _, found, rest = certificate.partition(begin)
    encoded, closed, _ = rest.partition(end)
    if not found or not closed:
        raise ValueError("the text holds no PEM certificate")
    digest = hashlib.sha256(base64.b64decode("".join(encoded.split()), validate=True)).digest()
    return {"x5t#S256": base64.urlsafe_b64encode(digest).rstrip(b"=").decode()}


def following(place: str | None) -> dict[str, str]:
    """Headers of a stream that goes on behind a place."""
    behind = {} if place is None else {"Last-Event-ID": place}
    if place is not None and (not VISIBLE.fullmatch(place) or len(place) > 1024):
        raise errors.InvalidRequest("it is not the place of an event", field="after")
    return {"Accept": "text/event-stream", **behind}


def patience(wait: float | None) -> float:
    """How many seconds longer an answer may take that waits for the gateways."""
    return DEFAULT_WAIT if wait is None else max(wait, 0.0)


@dataclass
class Message:
    """One server-sent event."""

    place: str | None = None
    data: str = ""


class Messages:
    """Server-sent events out of the pieces in which they arrive."""

    def __init__(self) -> None:
        self._rest = b""
        self._message = Message()
        # Seconds after which a client may come back when the stream has ended.
        self.retry = 1.0

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that are complete with this piece."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) + len(self._message.data) > MAX_MESSAGE:
            raise errors.UnexpectedAnswer(f"a message of the stream is larger than {MAX_MESSAGE} bytes")
        complete = []
        for line in lines:
            if not line.rstrip(b"\r"):
                complete.append(self._message)
                self._message = Message(self._message.place)
                continue
            self._read(line.decode("utf-8", "replace").rstrip("\r"))
        return [message for message in complete if message.data]

    def _read(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id" and VISIBLE.fullmatch(value):
            self._message.place = value
        elif name == "data":
            self._message.data += ("\n" if self._message.data else "") + value
        elif name == "retry" and re.fullmatch(r"[0-9]{1,5}", value):
            self.retry = min(int(value) / 1000, MAX_RETRY_AFTER)


T = TypeVar("T")


def renamed(name: str, value: T | None, older_name: str, older: T | None) -> T | None:
    """The value of an argument that has two names, of which one may be used."""
    if value is not None and older is not None:
        raise TypeError(f"{name} and {older_name} are the same: give one of them")
    return older if value is None else value
