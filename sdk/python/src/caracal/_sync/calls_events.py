# Generated from caracal._sync by generate/sync.py; change that.

"""Regular operations on events, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from caracal import _operations as op
from caracal._sync.connection import Connection
from caracal._wire import Call
from caracal.models import Event


class EventsCalls(Connection):
    """Operations on events."""

    def get_event(self, event_id: str) -> Event:
        """One event."""
        return self._record(Event, Call(op.GET_EVENT, path={"id": event_id}))
