"""How a request to a target becomes a request to a gateway, whichever HTTP library makes it."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from collections.abc import Iterable
from types import ModuleType
from typing import Any, Final

from caracal import errors
from caracal._wire import denial
from caracal.records import Record

MANDATE: Final = "X-Caracal-Mandate"
TARGET: Final = "X-Caracal-Target-URL"
UPSTREAM_AUTHORIZATION: Final = "X-Caracal-Upstream-Authorization"
AUTHORIZATION: Final = "Authorization"
# What is between the caller and the gateway, and is written anew for it.
REPLACED: Final = frozenset({"host", AUTHORIZATION.lower(), MANDATE.lower(), TARGET.lower()})

# Stands for a provider's key where the gateway sets the credential: providers' clients refuse to start without one.
NO_KEY: Final = "set-by-the-gateway"

Pair = tuple[str, str]


class EnterpriseSync(Record):
    """How fresh a gateway is."""

    connected: bool
    last_sync: str | None
    """When it heard from the control plane last."""
    policies_synced: int
    """How many authority policies are in force."""


class GatewayHealth(Record):
    """How a gateway is."""

    status: str
    """`ok`, `degraded` or `fenced`: it denies everything."""
    enterprise_sync: EnterpriseSync
    reasons: list[str] | None


def mandate_id(mandate: str | Record) -> str:
    """The id of a mandate that is given as its id or as what `request_mandate` returned."""
    found = mandate if isinstance(mandate, str) else mandate.get("mandate_id")
    if not isinstance(found, str) or not re.fullmatch(r"mdt_[a-z2-7]{26}", found):
        raise errors.InvalidRequest("it is neither a mandate nor the id of one", field="mandate")
    return found


def headers(original: Iterable[Pair], target: str, mandate: str, token: str) -> list[Pair]:
    """The headers for the gateway: the caller's own `Authorization` is for the target, and goes along as such."""
    rewritten: list[Pair] = []
    for name, value in original:
        if value.removeprefix("Bearer ") == NO_KEY:
            continue  # it is no credential, and no target needs to see it
        if name.lower() == AUTHORIZATION.lower():
            rewritten = [pair for pair in rewritten if pair[0].lower() != UPSTREAM_AUTHORIZATION.lower()]
            rewritten.append((UPSTREAM_AUTHORIZATION, value))
        elif name.lower() == UPSTREAM_AUTHORIZATION.lower() and has(rewritten, UPSTREAM_AUTHORIZATION):
            continue
        elif name.lower() not in REPLACED:
            rewritten.append((name, value))
    return [*rewritten, (AUTHORIZATION, f"Bearer {token}"), (MANDATE, mandate), (TARGET, target)]


def has(pairs: list[Pair], name: str) -> bool:
    return any(n.lower() == name.lower() for n, _ in pairs)


def library_of(distribution: str) -> ModuleType:
    """The HTTP library that an installed client is built on, which is the one whose clients it accepts.

    Raises:
        ModuleNotFoundError: the client is not installed.
    """
    try:
        requires = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        raise ModuleNotFoundError(f"the package {distribution} is not installed", name=distribution) from None
    names = {re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0].lower() for line in requires if "extra ==" not in line}
    return importlib.import_module("httpx2" if "httpx2" in names else "httpx")


def denial_of(answer: Any) -> errors.Denied | None:
    """The denial that an answer is, or None where it is the target's.

    What a gateway denies comes back as an HTTP response, so that every client library can deal with it. This tells it
    from the target's own refusals, by its form. A target could imitate the form; it would only mislead its own caller.

    Args:
        answer: a response of httpx, httpx2 or requests whose body has been read, or an exception that has one as its
            `response`, such as `openai.APIStatusError`.
    """
    response: Any = getattr(answer, "response", None) if isinstance(answer, BaseException) else answer
    status = getattr(response, "status_code", None)
    if not isinstance(status, int) or status < 400:
        return None
    content = response.content
    return denial(status, response.headers.get("content-type"), content) if isinstance(content, bytes) else None


def raise_for_denial(response: Any) -> Any:
    """Return the response, unless it is a gateway's denial.

    Raises:
        Denied: the gateway denied the request; the target has not seen it.
    """
    denied = denial_of(response)
    if denied is not None:
        raise denied
    return response
