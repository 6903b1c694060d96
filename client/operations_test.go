package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

// notCalled says of an operation why the client has no call for it.
func notCalled() map[string]string {
	return map[string]string{
		"openapi":  "the document is for other clients",
		"docs":     "the page is for browsers",
		"docsFile": "likewise",
		"ready":    "Probe asks for any path",
	}
}

// calls makes one call of every operation.
func calls() map[string]func(context.Context, *client.Client) error {
	same := func(v authority.Destination) (authority.Destination, error) { return v, nil }
	return map[string]func(context.Context, *client.Client) error{
		"health":        func(ctx context.Context, c *client.Client) error { return second(c.Health(ctx)) },
		"exchangeToken": func(ctx context.Context, c *client.Client) error { return second(c.Token(ctx)) },

		"getInspectionCA": func(ctx context.Context, c *client.Client) error { return second(c.InspectionCA(ctx)) },

		"getSession": func(ctx context.Context, c *client.Client) error { return second(c.Session(ctx)) },
		"endSession": func(ctx context.Context, c *client.Client) error { return c.EndSession(ctx) },
		"exchangeSignInCode": func(ctx context.Context, c *client.Client) error {
			return second(c.ExchangeCode(ctx, "code", "verifier"))
		},
		"listSessions":     func(ctx context.Context, c *client.Client) error { return second(c.Sessions(ctx)) },
		"endSessions":      func(ctx context.Context, c *client.Client) error { return c.EndSessions(ctx) },
		"endOneSession":    func(ctx context.Context, c *client.Client) error { return c.EndOneSession(ctx, "ID") },
		"createSignInLink": func(ctx context.Context, c *client.Client) error { return second(c.CreateSignInLink(ctx)) },

		"listWorkspaces": func(ctx context.Context, c *client.Client) error { return second(c.Workspaces(ctx)) },
		"createWorkspace": func(ctx context.Context, c *client.Client) error {
			return second(c.CreateWorkspace(ctx, client.NewWorkspace{}))
		},
		"getWorkspace":       func(ctx context.Context, c *client.Client) error { return second(c.Workspace(ctx, "ID")) },
		"archiveWorkspace":   func(ctx context.Context, c *client.Client) error { return second(c.ArchiveWorkspace(ctx, "ID")) },
		"unarchiveWorkspace": func(ctx context.Context, c *client.Client) error { return second(c.UnarchiveWorkspace(ctx, "ID")) },
		"deleteWorkspace":    func(ctx context.Context, c *client.Client) error { return second(c.DeleteWorkspace(ctx, "ID", 0)) },
		"restoreWorkspace":   func(ctx context.Context, c *client.Client) error { return second(c.RestoreWorkspace(ctx, "ID")) },
		"getWorkspaceUsage":  func(ctx context.Context, c *client.Client) error { return second(c.WorkspaceUsage(ctx, "ID")) },
		"updateWorkspace": func(ctx context.Context, c *client.Client) error {
			return second(c.EditWorkspace(ctx, "ID", func(authority.Workspace) (client.WorkspaceChange, error) { return client.WorkspaceChange{}, nil }))
		},
		"getGroupRoles": func(ctx context.Context, c *client.Client) error { return second(c.GroupRoles(ctx, "ID")) },
		"setGroupRoles": func(ctx context.Context, c *client.Client) error {
			return second(c.EditGroupRoles(ctx, "ID", func(g client.GroupRoles) (client.GroupRoles, error) { return g, nil }))
		},

		"listMembers":  func(ctx context.Context, c *client.Client) error { return second(c.Members(ctx, nil, 0)) },
		"addMember":    func(ctx context.Context, c *client.Client) error { return second(c.AddMember(ctx, client.NewMember{})) },
		"getMember":    func(ctx context.Context, c *client.Client) error { return second(c.Member(ctx, "ID")) },
		"removeMember": func(ctx context.Context, c *client.Client) error { return second(c.RemoveMember(ctx, "ID")) },
		"updateMember": func(ctx context.Context, c *client.Client) error {
			return second(c.EditMember(ctx, "ID", func(authority.Member) (client.MemberChange, error) { return client.MemberChange{}, nil }))
		},
		"inviteMember":      func(ctx context.Context, c *client.Client) error { return second(c.InviteMember(ctx, "ID")) },
		"endMemberSessions": func(ctx context.Context, c *client.Client) error { return second(c.EndMemberSessions(ctx, "ID")) },

		"listPrincipals": func(ctx context.Context, c *client.Client) error { return second(c.Principals(ctx, nil, 0)) },
		"registerPrincipal": func(ctx context.Context, c *client.Client) error {
			return second(c.RegisterPrincipal(ctx, client.NewPrincipal{}))
		},
		"getPrincipal":     func(ctx context.Context, c *client.Client) error { return second(c.Principal(ctx, "ID")) },
		"suspendPrincipal": func(ctx context.Context, c *client.Client) error { return second(c.SuspendPrincipal(ctx, "ID", 0)) },
		"resumePrincipal":  func(ctx context.Context, c *client.Client) error { return second(c.ResumePrincipal(ctx, "ID")) },
		"updatePrincipal": func(ctx context.Context, c *client.Client) error {
			return second(c.EditPrincipal(ctx, "ID", func(authority.Principal) (client.PrincipalChange, error) { return client.PrincipalChange{}, nil }))
		},

		"listPolicies": func(ctx context.Context, c *client.Client) error { return second(c.Policies(ctx, nil, 0)) },
		"createPolicy": func(ctx context.Context, c *client.Client) error {
			return second(c.CreatePolicy(ctx, client.NewPolicy{}))
		},
		"getPolicy":        func(ctx context.Context, c *client.Client) error { return second(c.Policy(ctx, "ID")) },
		"deactivatePolicy": func(ctx context.Context, c *client.Client) error { return second(c.DeactivatePolicy(ctx, "ID")) },
		"joinPolicy":       func(ctx context.Context, c *client.Client) error { return second(c.JoinPolicy(ctx, "ID")) },
		"updatePolicy": func(ctx context.Context, c *client.Client) error {
			return second(c.EditPolicy(ctx, "ID", func(authority.Policy) (client.PolicyChange, error) { return client.PolicyChange{}, nil }))
		},

		"listMandates": func(ctx context.Context, c *client.Client) error { return second(c.Mandates(ctx, nil, 0)) },
		"issueMandate": func(ctx context.Context, c *client.Client) error {
			return second(c.IssueMandate(ctx, client.MandateRequest{}))
		},
		"getMandate": func(ctx context.Context, c *client.Client) error { return second(c.Mandate(ctx, "ID")) },
		"validateMandate": func(ctx context.Context, c *client.Client) error {
			return second(c.ValidateMandate(ctx, client.Validation{}))
		},
		"revokeMandate": func(ctx context.Context, c *client.Client) error { return second(c.RevokeMandate(ctx, "ID", 0)) },
		"revokeMandates": func(ctx context.Context, c *client.Client) error {
			return second(c.RevokeMandates(ctx, client.MassRevocation{}, 0))
		},
		"listReceipts":        func(ctx context.Context, c *client.Client) error { return second(c.Receipts(ctx, nil, 0)) },
		"getReceipt":          func(ctx context.Context, c *client.Client) error { return second(c.Receipt(ctx, "ID")) },
		"listReceiptMandates": func(ctx context.Context, c *client.Client) error { return second(c.ReceiptMandates(ctx, "ID")) },
		"getKeySet":           func(ctx context.Context, c *client.Client) error { return second(c.KeySet(ctx)) },
		"delegateMandate": func(ctx context.Context, c *client.Client) error {
			return second(c.DelegateMandate(ctx, client.Delegation{ParentMandateID: "ID"}))
		},

		"listDestinations": func(ctx context.Context, c *client.Client) error { return second(c.Destinations(ctx, nil, 0)) },
		"createDestination": func(ctx context.Context, c *client.Client) error {
			return second(c.CreateDestination(ctx, authority.Destination{}))
		},
		"getDestination":     func(ctx context.Context, c *client.Client) error { return second(c.Destination(ctx, "ID")) },
		"replaceDestination": func(ctx context.Context, c *client.Client) error { return second(c.EditDestination(ctx, "ID", same)) },
		"testDestination": func(ctx context.Context, c *client.Client) error {
			return second(c.TestDestination(ctx, client.Trial{URL: "https://a.example.com/"}))
		},
		"deleteDestination": func(ctx context.Context, c *client.Client) error { return second(c.DeleteDestination(ctx, "ID")) },

		"listRegoVersions": func(ctx context.Context, c *client.Client) error { return second(c.RegoVersions(ctx, nil, 0)) },
		"pushRego":         func(ctx context.Context, c *client.Client) error { return second(c.PushRego(ctx, client.RegoPush{})) },
		"getRegoVersion":   func(ctx context.Context, c *client.Client) error { return second(c.RegoVersion(ctx, "ID")) },
		"activateRego":     func(ctx context.Context, c *client.Client) error { return second(c.ActivateRego(ctx, "ID")) },

		"listKeys":  func(ctx context.Context, c *client.Client) error { return second(c.Keys(ctx, nil, 0)) },
		"createKey": func(ctx context.Context, c *client.Client) error { return second(c.CreateKey(ctx, client.NewKey{})) },
		"getKey":    func(ctx context.Context, c *client.Client) error { return second(c.Key(ctx, "ID")) },
		"rotateKey": func(ctx context.Context, c *client.Client) error { return second(c.RotateKey(ctx, "ID", 0)) },
		"revokeKey": func(ctx context.Context, c *client.Client) error { return second(c.RevokeKey(ctx, "ID")) },

		"listIssuers":   func(ctx context.Context, c *client.Client) error { return second(c.Issuers(ctx)) },
		"createIssuer":  func(ctx context.Context, c *client.Client) error { return second(c.CreateIssuer(ctx, client.Issuer{})) },
		"getIssuer":     func(ctx context.Context, c *client.Client) error { return second(c.Issuer(ctx, "ID")) },
		"deleteIssuer":  func(ctx context.Context, c *client.Client) error { return second(c.DeleteIssuer(ctx, "ID")) },
		"refreshIssuer": func(ctx context.Context, c *client.Client) error { return second(c.RefreshIssuer(ctx, "ID")) },
		"replaceIssuer": func(ctx context.Context, c *client.Client) error {
			return second(c.EditIssuer(ctx, "ID", func(i client.Issuer) (client.Issuer, error) { return i, nil }))
		},

		"listClientAuthorities": func(ctx context.Context, c *client.Client) error { return second(c.ClientAuthorities(ctx)) },
		"createClientAuthority": func(ctx context.Context, c *client.Client) error {
			return second(c.CreateClientAuthority(ctx, authority.ClientAuthority{}))
		},
		"getClientAuthority":    func(ctx context.Context, c *client.Client) error { return second(c.ClientAuthority(ctx, "ID")) },
		"deleteClientAuthority": func(ctx context.Context, c *client.Client) error { return second(c.DeleteClientAuthority(ctx, "ID")) },
		"replaceClientAuthority": func(ctx context.Context, c *client.Client) error {
			return second(c.EditClientAuthority(ctx, "ID", func(a authority.ClientAuthority) (authority.ClientAuthority, error) { return a, nil }))
		},

		"listSigningKeys":   func(ctx context.Context, c *client.Client) error { return second(c.SigningKeys(ctx)) },
		"getSigningKey":     func(ctx context.Context, c *client.Client) error { return second(c.SigningKey(ctx, "ID")) },
		"rotateSigningKeys": func(ctx context.Context, c *client.Client) error { return second(c.RotateSigningKeys(ctx, 0)) },
		"revokeSigningKey":  func(ctx context.Context, c *client.Client) error { return second(c.RevokeSigningKey(ctx, "ID")) },

		"listGateways":  func(ctx context.Context, c *client.Client) error { return second(c.Gateways(ctx)) },
		"getGateway":    func(ctx context.Context, c *client.Client) error { return second(c.Gateway(ctx, "ID")) },
		"revokeGateway": func(ctx context.Context, c *client.Client) error { return second(c.RevokeGateway(ctx, "ID", 0)) },
		"forgetGateway": func(ctx context.Context, c *client.Client) error { return second(c.ForgetGateway(ctx, "ID", "gone")) },
		"listEvents": func(ctx context.Context, c *client.Client) error {
			return c.ExportEvents(ctx, nil, "jsonl", io.Discard)
		},
		"getEvent": func(ctx context.Context, c *client.Client) error { return second(c.Event(ctx, "ID")) },
		"streamEvents": func(ctx context.Context, c *client.Client) error {
			ctx, cancel := context.WithCancel(ctx)
			_ = c.FollowEvents(ctx, nil, func(authority.Event) error { return nil }, func(error) { cancel() })
			return nil
		},
	}
}

// Every operation of the OpenAPI document has a call of the client, made by the method and at the path of the document.
func TestEveryOperationHasACall(t *testing.T) {
	made := calls()
	for id, o := range operations(t) {
		why, left := notCalled()[id]
		call, there := made[id]
		delete(made, id)
		switch {
		case left && there:
			t.Errorf("%s is called, and is said not to be: %s", id, why)
			continue
		case left:
			continue
		case !there:
			t.Errorf("%s (%s %s) has no call: add one, or say in notCalled why not", id, o.method, o.path)
			continue
		}
		var mu sync.Mutex
		var got []string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, r.Method+" "+r.URL.Path)
			fmt.Fprint(w, `{}`)
		}))
		if err := call(t.Context(), dial(t, client.Config{URL: server.URL, Key: "the-key"})); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		server.Close()
		if want := o.method + " " + o.path; len(got) == 0 || got[len(got)-1] != want {
			t.Errorf("%s calls %s, want %s", id, strings.Join(got, ", "), want)
		}
	}
	for id := range made {
		t.Errorf("%s is no operation of the document", id)
	}
}

// placeholder is a variable of a path.
var placeholder = regexp.MustCompile(`\{[a-z]+\}`)

type operation struct{ method, path string }

// operations reads those of the OpenAPI document, as they are without a workspace in the path.
func operations(t *testing.T) map[string]operation {
	t.Helper()
	files, err := filepath.Glob("../controlplane/api/openapi/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no OpenAPI document: %v", err)
	}
	all := map[string]operation{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var document struct {
			Paths map[string]map[string]any `json:"paths"`
		}
		if err := yaml.Unmarshal(text, &document); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for path, item := range document.Paths {
			for method, described := range item {
				d, ok := described.(map[string]any)
				if id, named := d["operationId"].(string); ok && named {
					all[id] = operation{strings.ToUpper(method), placeholder.ReplaceAllString(path, "ID")}
				}
			}
		}
	}
	return all
}
