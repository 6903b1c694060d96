"""Regular operations on events, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from caracal import _operations as op
from caracal._async.connection import AsyncConnection
from caracal._wire import Call
from caracal.models import Event


class AsyncEventsCalls(AsyncConnection):
    """Operations on events."""

    async def get_event(self, event_id: str) -> Event:
        """One event."""
        return await self._record(Event, Call(op.GET_EVENT, path={"id": event_id}))
