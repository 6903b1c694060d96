package signin_test

import (
	"testing"

	"github.com/caracal-gateway/caracal/internal/openid"
)

// A key for several workspaces is its member's own. It does not pass to whoever becomes that member by an invitation:
// whoever made it would act as that person wherever it leads.
func TestAKeyForSeveralWorkspacesEndsWhenAnotherPersonBecomesItsMember(t *testing.T) {
	w := newWorld(t, openid.User{Subject: "u-boss"})
	w.browser().accept(w.invite(w.owner, w.member("boss", "owner")), "u-boss").shows(200, "my-team")

	// Mallory has a workspace of her own and looks on in my-team, with one key for both.
	mallory := w.member("mallory", "owner")
	var inTeam, own, single struct {
		APIKey string `json:"api_key"`
		Owner  struct {
			ID string `json:"principal_id"`
		} `json:"owner"`
	}
	w.rest(w.owner, "POST", "keys", map[string]any{"kind": "member", "name": "k", "principal_id": mallory}, 201, &inTeam)
	w.rest(inTeam.APIKey, "POST", "workspaces", map[string]any{"name": "mallorys", "slug": "mallorys"}, 201, &own)
	w.rest(w.owner, "PATCH", "members/"+mallory, map[string]any{"role": "viewer"}, 200, nil)
	w.rest(own.APIKey, "POST", "keys", map[string]any{"kind": "member", "name": "here", "principal_id": own.Owner.ID}, 201, &single)
	w.rest(own.APIKey, "GET", "workspaces/my-team/principals", nil, 200, nil)
	w.rest(own.APIKey, "GET", "workspaces/my-team/keys", nil, 403, nil)

	// The boss takes her place in her workspace.
	w.browser().accept(w.invite(own.APIKey, own.Owner.ID), "u-boss").shows(200, "my-team", "mallorys")
	w.rest(own.APIKey, "GET", "workspaces/my-team/keys", nil, 401, nil)
	// A key of that workspace alone is its workspace's matter, and leads nowhere else.
	w.rest(single.APIKey, "GET", "workspaces/mallorys/keys", nil, 200, nil)
	w.rest(single.APIKey, "GET", "workspaces/my-team/principals", nil, 404, nil)
}
