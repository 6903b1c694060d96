package controlplane

import (
	"slices"

	"github.com/caracal-gateway/caracal/authority"
)

// rights are the roles of members, and the kinds of callers that are no members, that may do something.
type rights uint16

const (
	owner rights = 1 << iota
	admin
	operator
	policyAuthor
	auditor
	viewer
	agent
	service
	gateway
	setup
	// people are members, and persons who are in no workspace at the moment.
	people
	// identified is everybody with a credential, people included.
	identified
)

const (
	administrators = owner | admin
	authors        = administrators | policyAuthor
	operators      = administrators | operator
	inspectors     = administrators | auditor
	everyMember    = administrators | operator | policyAuthor | auditor | viewer
	ownAffairs     = agent | service
)

// operation is one thing that a caller may ask for, and who may.
type operation struct {
	name string
	may  rights
	// quiet operations write events but change nothing that a gateway enforces: they take no revision.
	quiet bool
	// fences says that the operation can take authority away: a gateway has to enforce it before its lease is renewed.
	fences bool
	// bound operations are for the bearer of a token that is bound to a mandate, too.
	bound bool
	// many operations may end very many mandates, and take the time for it.
	many bool
}

// table says of every operation who may ask for it. The name is the operationId of the OpenAPI document, in lower case
// with underscores; those of the sync are not in the document.
//
// Whatever two roles may both do, a viewer may, or one of the two may do all that the other may: authority.Role.Within
// rests on it.
func table() []operation {
	return append(access(), []operation{
		{name: "list_workspaces", may: everyMember | gateway | setup},
		{name: "create_workspace", may: owner | setup},
		{name: "get_workspace", may: everyMember | gateway | setup},
		{name: "update_workspace", may: administrators},
		{name: "archive_workspace", may: administrators},
		{name: "unarchive_workspace", may: administrators},
		{name: "delete_workspace", may: owner, fences: true},
		{name: "restore_workspace", may: owner},
		{name: "get_workspace_usage", may: everyMember},

		{name: "list_principals", may: everyMember | gateway},
		{name: "register_principal", may: administrators},
		{name: "get_principal", may: everyMember | gateway},
		{name: "update_principal", may: administrators},
		{name: "suspend_principal", may: operators, fences: true},
		{name: "resume_principal", may: operators},

		{name: "list_policies", may: everyMember | gateway},
		{name: "create_policy", may: authors},
		{name: "get_policy", may: everyMember | gateway},
		{name: "update_policy", may: authors},
		{name: "deactivate_policy", may: authors},
		{name: "join_policy", may: administrators},

		{name: "list_mandates", may: everyMember | ownAffairs | gateway},
		{name: "issue_mandate", may: administrators | ownAffairs},
		{name: "get_mandate", may: everyMember | ownAffairs | gateway, bound: true},
		{name: "delegate_mandate", may: administrators | ownAffairs},
		{name: "revoke_mandate", may: operators | ownAffairs, fences: true, many: true},
		{name: "revoke_mandates", may: operators | ownAffairs, fences: true, many: true},
		{name: "validate_mandate", may: operators | ownAffairs, bound: true},

		{name: "list_receipts", may: everyMember | ownAffairs | gateway},
		{name: "get_receipt", may: everyMember | ownAffairs | gateway},
		{name: "list_receipt_mandates", may: everyMember | ownAffairs | gateway},
		{name: "get_key_set", may: everyMember | ownAffairs | gateway, bound: true},
		{name: "get_inspection_ca", may: everyMember | ownAffairs | gateway, bound: true},

		{name: "list_destinations", may: everyMember | gateway},
		{name: "create_destination", may: authors},
		{name: "get_destination", may: everyMember | gateway},
		{name: "replace_destination", may: authors},
		{name: "delete_destination", may: authors},
		{name: "test_destination", may: everyMember | gateway},

		{name: "list_client_authorities", may: everyMember | gateway},
		{name: "create_client_authority", may: administrators},
		{name: "get_client_authority", may: everyMember | gateway},
		{name: "replace_client_authority", may: administrators, fences: true},
		{name: "delete_client_authority", may: administrators, fences: true},

		{name: "list_signing_keys", may: inspectors},
		{name: "get_signing_key", may: inspectors},
		{name: "rotate_signing_keys", may: owner},
		{name: "revoke_signing_key", may: owner, fences: true},

		{name: "list_issuers", may: everyMember | gateway},
		{name: "create_issuer", may: administrators},
		{name: "get_issuer", may: everyMember | gateway},
		{name: "replace_issuer", may: administrators, fences: true},
		{name: "delete_issuer", may: administrators, fences: true},
		{name: "refresh_issuer", may: operators},

		{name: "list_rego_versions", may: everyMember | gateway},
		{name: "push_rego", may: authors},
		{name: "get_rego_version", may: everyMember | gateway},
		{name: "activate_rego", may: authors},

		{name: "list_gateways", may: everyMember | gateway},
		{name: "get_gateway", may: everyMember | gateway},
		{name: "revoke_gateway", may: operators, fences: true},
		{name: "forget_gateway", may: operators, fences: true},

		{name: "list_events", may: everyMember | ownAffairs | gateway},
		{name: "stream_events", may: everyMember | ownAffairs | gateway},
		{name: "get_event", may: everyMember | ownAffairs | gateway},
		{name: "export_events", may: inspectors | ownAffairs | gateway}, // list_events as text, without end

		{name: "read_revision", may: everyMember | gateway},
		{name: "enrol_gateway", may: gateway},
		{name: "find_gateway", may: gateway},
		{name: "connect_gateway", may: gateway},
		{name: "acknowledge", may: gateway},
		{name: "renew_lease", may: gateway},
		{name: "surrender_lease", may: gateway},
		{name: "report_envoy", may: gateway},
		{name: "record_events", may: gateway},
		{name: "certify_gateway", may: gateway},
		{name: "snapshot", may: gateway},
	}...)
}

// access is the part of the table that says who lets whom in.
func access() []operation {
	return []operation{
		{name: "list_members", may: inspectors},
		{name: "add_member", may: administrators},
		{name: "get_member", may: inspectors},
		{name: "update_member", may: administrators, fences: true},
		{name: "remove_member", may: administrators, fences: true},

		{name: "invite_member", may: administrators},
		{name: "end_member_sessions", may: administrators},
		{name: "get_group_roles", may: inspectors},
		{name: "set_group_roles", may: administrators, fences: true},
		{name: "create_sign_in_link", may: everyMember},
		{name: "get_session", may: identified, bound: true},
		{name: "end_session", may: people},
		{name: "list_sessions", may: people},
		{name: "end_sessions", may: people},
		{name: "end_one_session", may: people},

		{name: "list_keys", may: inspectors},
		{name: "create_key", may: administrators},
		{name: "get_key", may: inspectors},
		{name: "rotate_key", may: administrators},
		{name: "revoke_key", may: administrators, fences: true},
		{name: "exchange_token", may: ownAffairs},
	}
}

// Right says who may ask for one operation: members by their roles, others by their kinds.
type Right struct {
	Operation string
	Roles     []authority.Role
	Kinds     []authority.KeyKind
}

// Rights is the table, for whoever shows it or tests by it.
func Rights() []Right {
	ops := table()
	all := make([]Right, len(ops))
	for i, op := range ops {
		all[i].Operation = op.name
		for _, role := range authority.Roles() {
			if op.may&(rightOf(role)|people|identified) != 0 {
				all[i].Roles = append(all[i].Roles, role)
			}
		}
		for kind, right := range map[authority.KeyKind]rights{
			authority.KeyAgent: agent, authority.KeyService: service, authority.KeyGateway: gateway, KeySetup: setup,
		} {
			if op.may&(right|identified) != 0 {
				all[i].Kinds = append(all[i].Kinds, kind)
			}
		}
		slices.Sort(all[i].Kinds)
	}
	return all
}

// allowed finds an operation in the table. What is not there nobody may do.
func allowed(name string) operation {
	for _, op := range table() {
		if op.name == name {
			return op
		}
	}
	return operation{name: name}
}

func (op operation) quietly() operation {
	op.quiet = true
	return op
}

// rightOf is the right of a member with a role; none for what is no role.
func rightOf(role authority.Role) rights {
	switch role {
	case authority.RoleOwner:
		return owner
	case authority.RoleAdmin:
		return admin
	case authority.RoleOperator:
		return operator
	case authority.RolePolicyAuthor:
		return policyAuthor
	case authority.RoleAuditor:
		return auditor
	case authority.RoleViewer:
		return viewer
	}
	return 0
}

// right is what the caller is in the table's terms; none for the zero Caller and for a member without a role.
func (c Caller) right() rights {
	switch c.kind {
	case KeySetup:
		return setup
	case authority.KeyMember:
		if c.principal.Type == authority.User {
			return rightOf(c.principal.Role)
		}
	case authority.KeyAgent:
		if c.principal.Type == authority.Agent {
			return agent
		}
	case authority.KeyService:
		if c.principal.Type == authority.Service {
			return service
		}
	case authority.KeyGateway:
		if c.key != "" {
			return gateway
		}
	case authority.KeyOwner: // the text of an older key, which no stored kind is
	}
	return 0
}

// may reports as an error why the caller may not do this at all.
func (c Caller) may(op operation) error {
	if c.kind == "" {
		return errUnauthenticated
	}
	if c.mandate != "" && !op.bound {
		return authority.Forbidden("a token that is bound to a mandate may not do this (%s)", op.name)
	}
	if op.may&identified != 0 || op.may&people != 0 && c.kind == authority.KeyMember && c.person != "" {
		return nil
	}
	if c.kind == authority.KeyMember && c.principal.ID == "" {
		return authority.Invalid("workspace_slug", "is missing: which workspace is meant, since the caller is a member of several or of none")
	}
	if c.principal.ID != "" {
		if err := c.active(); err != nil {
			return err
		}
	}
	if op.may&c.right() != 0 {
		return nil
	}
	if c.kind == authority.KeyMember && op.may&everyMember != 0 { // another role would do
		return authority.Forbidden("the role %s may not do this (%s)", c.principal.Role, op.name)
	}
	return authority.Forbidden("a key of the kind %s may not do this (%s)", c.kind, op.name)
}

// isMember reports whether the caller is a member, with whatever role.
func (c Caller) isMember() bool { return c.kind == authority.KeyMember && c.principal.IsMember() }

// isAgent reports whether the caller acts for itself and nobody else.
func (c Caller) isAgent() bool { return c.right()&ownAffairs != 0 }

// active refuses a suspended principal.
func (c Caller) active() error {
	if c.principal.Suspended {
		return &authority.Error{
			Code: authority.CodeForbidden, Reason: authority.ReasonSuspended, Message: "the principal is suspended",
		}
	}
	return nil
}
