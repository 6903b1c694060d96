# The base policy. Every decision of Caracal is the value of data.caracal.base.decision.
#
# Go establishes the facts: it verifies the mandate and compares scopes, times and chains. This policy says what the
# facts mean, and adds what the workspace's own modules contribute. It cannot permit what a fact refuses, and nor can
# any other policy: Go compares the decision with the facts again.
package caracal.base

# The facts that every permission needs, in the order in which they are checked. The first one that is not
# established names the reason of the denial.
required := [
	"known", # the mandate exists in this workspace
	"presenter", # whoever presents it is its subject
	"live", # neither it nor any mandate above it is revoked
	"principals_active", # nobody in its chain is suspended
	"within_time", # the time of the decision lies within its validity
	"action", # it covers the action
	"resource", # it covers the resource
	"chain", # each mandate of its chain is contained in the one above it
]

# A fact that is missing, or anything but true, is unmet.
unmet := [fact | some fact in required; not input.facts[fact] == true]

default allow := false

allow if {
	count(unmet) == 0
	count(data.caracal.workspace.deny) == 0
	count(data.caracal.workspace.approve) == 0
}

# When one of the workspace's sets is undefined, so is the decision, and a decision that is undefined denies.
decision := {
	"allow": allow,
	"unmet": unmet,
	"deny": data.caracal.workspace.deny,
	"approve": data.caracal.workspace.approve,
	"obligations": data.caracal.workspace.obligations,
}
