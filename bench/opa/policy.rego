# The rules by which Caracal judges a call, as OPA would be asked to: whoever calls presents a mandate, which holds with
# its whole chain, and covers what is asked of the target.
package bench

default allow := false

allow if count(deny) == 0

http := input.attributes.request.http

caller := data.bearers[http.headers.authorization]

id := http.headers["x-caracal-mandate"]

mandate := data.mandates[id]

parent := data.mandates[mandate.parent]

root := data.mandates[parent.parent]

chain := [mandate, parent, root]

url := regex.find_all_string_submatch_n(`^http://([a-z0-9.:-]+)/([^/?]+)/([^/?]+)$`, http.headers["x-caracal-target-url"], 1)[0]

action := data.destinations[url[1]][http.method]

resource := concat("/", ["api:tools", url[2], url[3]])

now := time.now_ns() / 1000000000

deny contains "authentication_failed" if not caller

deny contains "principal_unknown" if not data.principals[caller]

deny contains "principal_suspended" if data.principals[caller].suspended

deny contains "missing_target_url" if not http.headers["x-caracal-target-url"]

deny contains "target_not_allowed" if not action

deny contains "missing_mandate" if not id

deny contains "mandate_not_found" if not mandate

deny contains "subject_mismatch" if mandate.subject != caller

deny contains "mandate_revoked" if {
	some m in chain
	m.revoked
}

deny contains "principal_suspended" if {
	some m in chain
	data.principals[m.subject].suspended
}

deny contains "issuer_suspended" if data.principals[root.issuer].suspended

deny contains "mandate_not_yet_valid" if {
	some m in chain
	m.from > now
}

deny contains "mandate_expired" if {
	some m in chain
	m.until <= now
}

deny contains "action_not_in_scope" if {
	some m in chain
	not action in m.actions
}

deny contains "resource_not_in_scope" if {
	some m in chain
	not covered(m)
}

covered(m) if {
	some pattern in m.resources
	glob.match(pattern, [":", "/"], resource)
}
