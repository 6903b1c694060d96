"""What happened: decisions of gateways, and administrative changes."""

from __future__ import annotations

import datetime
from collections import deque
from collections.abc import AsyncIterator
from typing import Literal, overload

from caracal import _operations as op
from caracal import _wire, errors
from caracal._async.connection import AsyncConnection
from caracal._async.runtime import sleep
from caracal._wire import Answer, Call
from caracal.models import Event
from caracal.records import Page

Day = str | datetime.date

# How many events `follow_events` remembers, so that it tells each of them once.
REMEMBERED = 10_000


class AsyncEvents(AsyncConnection):
    """Operations on events. With an agent's key they are about the agent's own."""

    @overload
    async def query_events(
        self,
        *,
        workspace_slug: str | None = None,
        event_type: str | None = None,
        start_date: Day | None = None,
        end_date: Day | None = None,
        principal_id: str | None = None,
        mandate_id: str | None = None,
        decision_id: str | None = None,
        resource: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        format: Literal["json"] = "json",
    ) -> Page[Event]: ...

    @overload
    async def query_events(
        self,
        *,
        workspace_slug: str | None = None,
        event_type: str | None = None,
        start_date: Day | None = None,
        end_date: Day | None = None,
        principal_id: str | None = None,
        mandate_id: str | None = None,
        decision_id: str | None = None,
        resource: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        format: Literal["jsonl", "csv"],
    ) -> str: ...

    async def query_events(
        self,
        *,
        workspace_slug: str | None = None,
        event_type: str | None = None,
        start_date: Day | None = None,
        end_date: Day | None = None,
        principal_id: str | None = None,
        mandate_id: str | None = None,
        decision_id: str | None = None,
        resource: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        format: Literal["json", "jsonl", "csv"] = "json",
    ) -> Page[Event] | str:
        """Events that match, newest first.

        Without a `limit` these are all of them, in memory at once; where they may be many, use `iter_events` or
        `export_events`.

        Args:
            workspace_slug: the workspace; that of the key unless told.
            event_type: only one type, such as `denied`, `issued` or `revoked`.
            start_date: the first day of UTC, such as `2024-01-01`.
            end_date: the last day of UTC; it is included.
            principal_id: only those about this principal.
            mandate_id: only those about this mandate.
            decision_id: only those of this decision.
            resource: only those about this resource.
            limit: how many at most; up to 200 a call.
            cursor: the `next_cursor` of the page before.
            format: `json` for a list, `jsonl` or `csv` for a text.

        Raises:
            InvalidRequest: an argument is malformed; `field` says which.
        """
        query = {
            "workspace_slug": workspace_slug,
            "event_type": event_type,
            "start_date": start_date,
            "end_date": end_date,
            "principal_id": principal_id,
            "mandate_id": mandate_id,
            "decision_id": decision_id,
            "resource": resource,
            "limit": limit,
            "cursor": cursor,
            "format": format,
        }
        call = Call(op.LIST_EVENTS, query=query)
        if format != "json":
            return plain_text(await self._send(call))
        if limit is not None:
            return await self._page(Event, call)
        return Page([event async for event in self._pages(Event, unlimited(call))])

    async def iter_events(
        self,
        *,
        workspace_slug: str | None = None,
        event_type: str | None = None,
        start_date: Day | None = None,
        end_date: Day | None = None,
        principal_id: str | None = None,
        mandate_id: str | None = None,
        decision_id: str | None = None,
        resource: str | None = None,
    ) -> AsyncIterator[Event]:
        """Every event that matches, newest first, a page at a time. The arguments are those of `query_events`."""
        query = {
            "workspace_slug": workspace_slug,
            "event_type": event_type,
            "start_date": start_date,
            "end_date": end_date,
            "principal_id": principal_id,
            "mandate_id": mandate_id,
            "decision_id": decision_id,
            "resource": resource,
        }
        async for event in self._pages(Event, Call(op.LIST_EVENTS, query=query)):
            yield event

    async def export_events(
        self,
        *,
        format: Literal["jsonl", "csv"],
        workspace_slug: str | None = None,
        event_type: str | None = None,
        start_date: Day | None = None,
        end_date: Day | None = None,
        principal_id: str | None = None,
        mandate_id: str | None = None,
        decision_id: str | None = None,
        resource: str | None = None,
    ) -> AsyncIterator[bytes]:
        """All events that match as a file's bytes, piece by piece, to be written as they come.

        The arguments are those of `query_events`. It is tried once: half of a file cannot be taken back.

        Raises:
            Unreachable: the connection broke off; the file is not complete.
        """
        query = {
            "workspace_slug": workspace_slug,
            "event_type": event_type,
            "start_date": start_date,
            "end_date": end_date,
            "principal_id": principal_id,
            "mandate_id": mandate_id,
            "decision_id": decision_id,
            "resource": resource,
            "format": format,
        }
        async with self._stream(Call(op.LIST_EVENTS, query=query)) as response:
            if not response.is_success:
                await response.aread()
                raise _wire.refusal(
                    Answer(response.status_code, response.headers, response.content[: _wire.MAX_PROBLEM])
                )
            plain(response.status_code, response.headers.get("content-type"))
            async for chunk in response.aiter_bytes():
                yield chunk

    async def follow_events(
        self,
        *,
        workspace_slug: str | None = None,
        event_type: str | None = None,
        principal_id: str | None = None,
        mandate_id: str | None = None,
        resource: str | None = None,
        interval: float = 1.0,
    ) -> AsyncIterator[Event]:
        """Events as they happen, oldest first, without an end.

        It asks anew every `interval` seconds. An outage of the server ends it only after the attempts that each call
        has; what happened meanwhile comes afterwards.

        Args:
            workspace_slug: the workspace; that of the key unless told.
            event_type: only one type, such as `denied`.
            principal_id: only those about this principal.
            mandate_id: only those about this mandate.
            resource: only those about this resource.
            interval: seconds between two questions.
        """
        query = {
            "workspace_slug": workspace_slug,
            "event_type": event_type,
            "principal_id": principal_id,
            "mandate_id": mandate_id,
            "resource": resource,
        }
        call = Call(op.LIST_EVENTS, query=query)
        told = deque([e.event_id for e in await self._page(Event, newest(call))], maxlen=REMEMBERED)
        while True:
            await sleep(interval)
            fresh: list[Event] = []
            async for event in self._pages(Event, call):
                if event.event_id in told:
                    break
                fresh.append(event)
                if len(fresh) == REMEMBERED:
                    break
            for event in reversed(fresh):
                told.append(event.event_id)
                yield event

    async def get_event(self, event_id: str) -> Event:
        """One event.

        Args:
            event_id: its id, or that of its decision: the `decision_id` of a denial.

        Raises:
            NotFound: there is none, or it is not the caller's to see. A gateway's events arrive within seconds.
        """
        return await self._record(Event, Call(op.GET_EVENT, path={"id": event_id}))


def unlimited(call: Call) -> Call:
    """The call for as many a page as there may be."""
    return Call(call.operation, query={k: v for k, v in call.query.items() if k != "limit"})


def newest(call: Call) -> Call:
    """The call for the newest page."""
    return Call(call.operation, query={**call.query, "limit": _wire.PAGE_SIZE})


def plain_text(answer: Answer) -> str:
    """The text that an answer is."""
    plain(answer.status, answer.headers.get("content-type"))
    try:
        return answer.content.decode("utf-8")
    except UnicodeDecodeError:
        raise answer.unexpected("a text that is not UTF-8") from None


def plain(status: int, content_type: str | None) -> None:
    """Refuse what is not an export, such as a page that somebody in between answers."""
    if (content_type or "").partition(";")[0].strip() not in ("application/jsonl", "text/csv"):
        raise errors.UnexpectedAnswer(
            f"the server answered {status} with something that is not an export", status=status
        )
