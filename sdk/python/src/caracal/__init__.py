"""Authority for AI agents.

`caracal.sdk` is for programs that act under a mandate, `caracal.enterprise.sdk` for those that administer workspaces.
"""

__version__ = "0.1.0"
