package controlplane

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"

	"github.com/caracal-gateway/caracal/authority"
)

// AnyTag stands in If-Match for whatever the thing is now.
const AnyTag = "*"

// tagBytes is how much of a digest a tag carries.
const tagBytes = 18

// Tag names the state of a thing, as an entity tag without its quotes: two states that differ in anything but what
// changes by itself have different tags. Of a workspace that is its revision, of a key when it was last used and the slugs
// of the workspaces that it opens, of an issuer how its keys stand, and of a gateway all that it says of itself. A new thing
// has the tag that it has when it is read, without the key that comes with it.
func Tag(thing any) string {
	switch t := thing.(type) {
	case authority.Workspace:
		t.Revision = 0
		thing = t
	case CreatedWorkspace:
		return Tag(t.Workspace)
	case RegisteredPrincipal:
		thing = t.Principal
	case Suspension:
		thing = t.Principal
	case RevokedGateway:
		return Tag(t.Gateway)
	case Gateway:
		thing = Gateway{ID: t.ID, RevokedAt: t.RevokedAt, ForgottenAt: t.ForgottenAt}
	case authority.Key:
		t.LastUsedAt, t.Workspaces = nil, nil // which never change, and are told as slugs that may
		thing = t
	case TrustedIssuer:
		thing = t.TrustedIssuer
	case CreatedKey:
		return Tag(t.Key)
	}
	text, err := json.Marshal(thing)
	if err != nil {
		return "" // nothing has this tag, so that no condition on it holds
	}
	digest := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(digest[:tagBytes])
}

// IfMatch gives the next write a condition: it is carried out only if the thing that it changes has one of the tags, and
// is a precondition_failed otherwise. A write that changes no thing that is there already refuses every condition.
func (c Caller) IfMatch(tags ...string) Caller {
	c.match = tags
	return c
}

// expect holds the condition of a write against the thing as it is before the change. The transaction keeps everyone else
// from changing it until the commit, so that of two editors who saw the same state one is told.
func (ch *change) expect(current any) error {
	ch.expected = true
	tags := ch.caller.match
	if len(tags) == 0 || slices.Contains(tags, AnyTag) {
		return nil
	}
	if tag := Tag(current); tag == "" || !slices.Contains(tags, tag) {
		return &authority.Error{
			Code: authority.CodePrecondition, Field: "If-Match",
			Message: "somebody has changed this since it was read: read it again and decide anew",
		}
	}
	return nil
}

// unconditional refuses a condition that the write has not looked at.
func (ch *change) unconditional() error {
	if ch.expected || len(ch.caller.match) == 0 {
		return nil
	}
	return authority.Invalid("If-Match", "this operation takes no condition")
}
