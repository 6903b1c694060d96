package extauthz

import (
	"strings"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/rego"
)

// visible reports whether a header may be shown to Rego policies: those that say what the request carries and which
// program sends it. None of them is a credential.
func visible(name string) bool {
	switch name {
	case "accept", "accept-language", "anthropic-version", "content-encoding", "content-length", "content-type",
		"openai-beta", "upgrade", "user-agent":
		return true
	}
	return false
}

// requestInput is the request as policies see it.
func requestInput(m mode, r *request, target authority.Target) rego.Request {
	shown := make(map[string]string, 8)
	for _, h := range r.headers {
		if !visible(h.name) {
			continue
		}
		value := strings.ToValidUTF8(h.value, "\ufffd")
		if before, again := shown[h.name]; again {
			value = before + ", " + value
		}
		shown[h.name] = value
	}
	input := rego.Request{Mode: m.policy, Method: r.method, Host: target.Host, Port: int(target.Port), Header: shown}
	if target.Path != "" {
		input.Path = target.Segments()
	}
	return input
}

// policyInput is what the policy is asked about.
func policyInput(j *judgement, f authority.Finding, request rego.Request) rego.Input {
	workspace := j.snapshot.workspace
	return rego.Input{
		Request: request,
		Principal: rego.Principal{
			ID: string(f.Presenter.ID), Type: string(f.Presenter.Type), Name: f.Presenter.Name, Metadata: f.Presenter.Metadata,
		},
		Mandate:   mandateInput(f.Chain),
		Resource:  string(j.resource),
		Action:    string(j.action),
		Workspace: rego.Workspace{ID: string(workspace.ID), Slug: workspace.Slug},
		Time:      j.at,
		Facts: rego.Facts{
			Known: f.Facts.Known, Presenter: f.Facts.Presenter, Live: f.Facts.NotRevoked,
			PrincipalsActive: f.Facts.PrincipalsActive, WithinTime: f.Facts.WithinTime,
			Action: f.Facts.Action, Resource: f.Facts.Resource, Chain: f.Facts.Chain,
		},
	}
}

// mandateInput describes the first mandate of a chain that ends in its root; policies see the chain from the root on.
func mandateInput(chain []authority.Mandate) rego.Mandate {
	if len(chain) == 0 {
		return rego.Mandate{}
	}
	links := make([]rego.Link, len(chain))
	for i, m := range chain {
		links[len(chain)-1-i] = rego.Link{ID: string(m.ID), IssuerID: string(m.IssuerID), SubjectID: string(m.SubjectID)}
	}
	m := chain[0]
	return rego.Mandate{
		ID: string(m.ID), IssuerID: string(m.IssuerID), SubjectID: string(m.SubjectID),
		Resources: plain(m.ResourceScope), Actions: plain(m.ActionScope),
		ValidFrom: m.ValidFrom, ValidUntil: m.ValidUntil,
		Level: m.Level, DelegationDepth: m.DelegationDepth,
		RequestedBy: string(m.RequestedBy), Consent: string(m.Consent),
		PolicyID: string(m.PolicyID), PolicyVersion: m.PolicyVersion,
		Chain: links,
	}
}

func plain[T ~string](list []T) []string {
	texts := make([]string, len(list))
	for i, item := range list {
		texts[i] = string(item)
	}
	return texts
}
