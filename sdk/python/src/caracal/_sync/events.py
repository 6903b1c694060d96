# Generated from caracal._sync by generate/sync.py; change that.

"""What happened: decisions of gateways, and administrative changes."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Literal, overload

import httpx

from caracal import _operations as op
from caracal import _wire, errors
from caracal._sync.calls_events import EventsCalls
from caracal._sync.runtime import sleep
from caracal._wire import Answer, Call
from caracal.models import Event
from caracal.records import Page, build

Day = str | datetime.date

# Types of exports.
PLAIN = ("application/jsonl", "text/csv")
# A stream says something at least every 15 seconds; this much longer than other answers it may be silent.
SILENCE = 30.0


class Events(EventsCalls):
    """Operations on events. With an agent's key they are about the agent's own."""

    @overload
    def query_events(
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
        actor_id: str | None = None,
        sort: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        format: Literal["json"] = "json",
    ) -> Page[Event]: ...

    @overload
    def query_events(
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
        actor_id: str | None = None,
        sort: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        format: Literal["jsonl", "csv"],
    ) -> str: ...

    def query_events(
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
        actor_id: str | None = None,
        sort: str | None = None,
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
            actor_id: only those of who did it.
            sort: `time` for the oldest first, `-time` for the newest first, which is so unless told.
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
            "actor_id": actor_id,
            "sort": sort,
            "limit": limit,
            "cursor": cursor,
            "format": format,
        }
        call = Call(op.LIST_EVENTS, query=query)
        if format != "json":
            return plain_text(self._send(call))
        if limit is not None:
            return self._page(Event, call)
        return Page([event for event in self._pages(Event, unlimited(call))])

    def iter_events(
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
        actor_id: str | None = None,
        sort: str | None = None,
    ) -> Iterator[Event]:
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
            "actor_id": actor_id,
            "sort": sort,
        }
        for event in self._pages(Event, Call(op.LIST_EVENTS, query=query)):
            yield event

    def export_events(
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
        actor_id: str | None = None,
        sort: str | None = None,
    ) -> Iterator[bytes]:
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
            "actor_id": actor_id,
            "sort": sort,
            "format": format,
        }
        with self._stream(Call(op.LIST_EVENTS, query=query)) as response:
            self._expect(response, *PLAIN)
            for chunk in response.iter_bytes():
                yield chunk

    def stream_events(
        self,
        *,
        workspace_slug: str | None = None,
        event_type: str | None = None,
        principal_id: str | None = None,
        actor_id: str | None = None,
        mandate_id: str | None = None,
        decision_id: str | None = None,
        resource: str | None = None,
        after: str | None = None,
    ) -> Iterator[Event]:
        """Events as they happen, without an end.

        When the connection ends it is made again, as often as any call is tried, and goes on behind the last event.

        Args:
            workspace_slug: the workspace; that of the key unless told.
            event_type: only one type, such as `denied`.
            principal_id: only those about this principal.
            actor_id: only those of who did it.
            mandate_id: only those about this mandate.
            decision_id: only those of this decision.
            resource: only those about this resource.
            after: the `place` of the last event that was received; what happens next unless told.

        Raises:
            AuthenticationFailed: the key is not valid, or has ended meanwhile.
            Unreachable: there is no connection, also after the SDK's own attempts.
        """
        query = {
            "workspace_slug": workspace_slug,
            "event_type": event_type,
            "principal_id": principal_id,
            "actor_id": actor_id,
            "mandate_id": mandate_id,
            "decision_id": decision_id,
            "resource": resource,
        }
        attempt = 0
        while True:
            messages = _wire.Messages()
            call = Call(op.STREAM_EVENTS, query=query, headers=_wire.following(after), patience=SILENCE)
            pause: float | None
            try:
                with self._stream(call) as response:
                    self._expect(response, "text/event-stream")
                    for chunk in response.iter_bytes():
                        for message in messages.feed(chunk):
                            attempt, after = 0, message.place
                            event = build(Event, _wire.parse(message.data.encode()))
                            event.place = after
                            yield event
                pause = messages.retry
            except (errors.Unreachable, errors.Unavailable, errors.RateLimited) as error:
                pause = _wire.pause_before(attempt, error) if attempt < self._retries else None
                if pause is None:
                    raise
                attempt += 1
            sleep(pause)

    def _expect(self, response: httpx.Response, *media_types: str) -> None:
        """Read the refusal that an answer is, or refuse an answer of another type, such as a portal's page."""
        if not response.is_success:
            response.read()
            raise _wire.refusal(Answer(response.status_code, response.headers, response.content))
        if response.headers.get("content-type", "").partition(";")[0].strip() not in media_types:
            raise Answer(response.status_code, response.headers, b"").unexpected("something else than was asked for")


def unlimited(call: Call) -> Call:
    """The call for as many a page as there may be."""
    return Call(call.operation, query={k: v for k, v in call.query.items() if k != "limit"})


def plain_text(answer: Answer) -> str:
    """The text that an answer is."""
    if answer.headers.get("content-type", "").partition(";")[0].strip() not in PLAIN:
        raise answer.unexpected("something that is not an export")
    try:
        return answer.content.decode("utf-8")
    except UnicodeDecodeError:
        raise answer.unexpected("a text that is not UTF-8") from None
