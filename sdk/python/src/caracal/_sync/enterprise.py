# Generated from caracal._sync by generate/sync.py; change that.

"""The client of programs that administer workspaces."""

from __future__ import annotations

from caracal import _operations as op
from caracal._sync.calls import Calls
from caracal._sync.events import Events
from caracal._sync.mandates import Mandates
from caracal._sync.policies import Policies
from caracal._wire import Call
from caracal.models import Health


class Enterprise(Mandates, Policies, Events, Calls):
    """Operations of the control plane."""

    def health(self) -> Health:
        """Ask the control plane how it is, without a key."""
        return (self._send(Call(op.HEALTH), authenticated=False)).record(Health)
