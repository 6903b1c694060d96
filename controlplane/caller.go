package controlplane

import "github.com/caracal-gateway/caracal/authority"

// KeySetup is the kind of the deployment's setup key, which belongs to no workspace.
const KeySetup authority.KeyKind = "setup"

// Caller is an authenticated party. Only Authenticate makes one; the zero Caller may do nothing.
type Caller struct {
	key       authority.KeyID
	kind      authority.KeyKind
	workspace authority.WorkspaceID
	slug      string
	principal authority.Principal
	once      once
}

// once names a write that is to have one effect however often it is sent.
type once struct {
	key    string
	digest []byte
}

// Key is the API key that the caller presented; empty for an access token and for the setup key.
func (c Caller) Key() authority.KeyID { return c.key }

// Kind says what the caller may do at all. A bearer of an access token has the kind of its principal's keys.
func (c Caller) Kind() authority.KeyKind { return c.kind }

// Workspace is the one workspace of the caller; empty for the setup key.
func (c Caller) Workspace() authority.WorkspaceID { return c.workspace }

// Slug is the name in addresses of the caller's workspace; empty for the setup key.
func (c Caller) Slug() string { return c.slug }

// Principal is who acts; zero for a gateway and for the setup key.
func (c Caller) Principal() authority.Principal { return c.principal }

// Once gives the next write an Idempotency-Key. For 24 hours the same key with the same digest of the request answers
// what the first call answered and changes nothing; with another digest it is a conflict. The memory of the answer is
// part of the transaction of the change, so that a crash leaves both or neither. Answers that are errors are not kept.
func (c Caller) Once(idempotencyKey string, requestDigest []byte) Caller {
	c.once = once{idempotencyKey, requestDigest}
	return c
}

// Within checks that a slug names the caller's workspace. Any other is not found, whether it exists or not.
func (c Caller) Within(slug string) error {
	if slug == "" || slug != c.slug {
		return authority.NotFound("workspace")
	}
	return nil
}
