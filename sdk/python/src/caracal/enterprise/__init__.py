"""For programs that administer workspaces; see `caracal.enterprise.sdk`."""
