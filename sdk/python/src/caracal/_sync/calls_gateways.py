# Generated from caracal._sync by generate/sync.py; change that.

"""Regular operations on gateways, generated from the OpenAPI document by `generate/calls.py`."""

from __future__ import annotations

from caracal import _operations as op
from caracal._sync.connection import Connection
from caracal._wire import Call
from caracal.models import Gateway
from caracal.records import Page


class GatewaysCalls(Connection):
    """Operations on gateways."""

    def list_gateways(self, *, workspace_slug: str | None = None) -> Page[Gateway]:
        """Enrolled gateway processes, those that left last.

        Args:
            workspace_slug: the workspace; that of the key unless told.
        """
        return self._page(Gateway, Call(op.LIST_GATEWAYS, query={"workspace_slug": workspace_slug}))
