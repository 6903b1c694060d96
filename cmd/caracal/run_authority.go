package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

const (
	// maxTokenLifetime is how long a token that is bound to a mandate lasts at most.
	maxTokenLifetime = 24 * time.Hour
	// What the end of a run waits for at most: that the mandate's end is in force, and with that the control plane's answer.
	enforcedWait = 5 * time.Second
	endTimeout   = 10 * time.Second
)

// authorise finds the mandate or asks for one, and gets a token that is bound to it.
func (g *governed) authorise(ctx context.Context) error {
	if g.given != "" {
		m, err := g.gateway.Mandate(ctx, authority.MandateID(g.given))
		if err != nil {
			return err
		}
		g.mandate = m
	} else if err := g.ask(ctx); err != nil {
		return err
	}
	t, err := g.gateway.BoundToken(ctx, g.mandate.ID, min(g.grant.validity, maxTokenLifetime))
	if err != nil {
		return err
	}
	if lasts := time.Duration(t.ExpiresIn) * time.Second; g.given == "" && lasts < g.grant.validity-time.Minute {
		g.tell("the command is governed for %s: its token ends then, before its mandate", duration(lasts))
	}
	g.around.Mandate, g.around.Token = string(g.mandate.ID), t.AccessToken
	return nil
}

// ask asks for a mandate as the agent whose key it is.
func (g *governed) ask(ctx context.Context) error {
	agent, err := g.agent(ctx)
	if err != nil {
		return err
	}
	issuer := authority.PrincipalID(cmp.Or(g.issuer, string(agent)))
	g.mandate, err = g.gateway.IssueMandate(ctx, client.MandateRequest{
		IssuerID: issuer, SubjectID: agent, ResourceScope: g.grant.resources, ActionScope: g.grant.actions,
		ValiditySeconds: int64(g.grant.validity / time.Second),
	})
	return err
}

// agent is whose key it is, as its token says.
func (g *governed) agent(ctx context.Context) (authority.PrincipalID, error) {
	t, err := g.gateway.Token(ctx)
	var refusal *client.Error
	if errors.As(err, &refusal) && refusal.Status == http.StatusForbidden {
		return "", &usageError{"a command runs with the key of an agent or a service, and the one that is set is another's: set CARACAL_AGENT_API_KEY or --agent-key-file"}
	}
	if err != nil {
		return "", err
	}
	return subjectOf(t.AccessToken)
}

// subjectOf reads whose token it is. It is the gateway that verifies it.
func subjectOf(token string) (authority.PrincipalID, error) {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return "", fmt.Errorf("reading the token that the gateway exchanged: %w", err)
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if err := json.Unmarshal(text, &claims); err != nil {
		return "", fmt.Errorf("reading the token that the gateway exchanged: %w", err)
	}
	return authority.ParseID[authority.PrincipalID](claims.Subject)
}

// end revokes the mandate that the run asked for. One that it was given stays, and the token ends with its time.
func (g *governed) end(ctx context.Context) {
	switch {
	case g.mandate.ID == "":
		return
	case g.given != "":
		if !g.quiet {
			g.tell("the mandate %s stays in force until %s; the command's token ends by itself, within %s", g.mandate.ID, g.mandate.ValidUntil.Format(time.RFC3339), duration(min(g.grant.validity, maxTokenLifetime)))
		}
		return
	}
	receipt, err := g.revoke(ctx)
	switch {
	case err != nil:
		g.tell("the mandate %s is not revoked and holds until %s: %v", g.mandate.ID, g.mandate.ValidUntil.Format(time.RFC3339), err)
		g.tell("to end it: caracal mandate revoke %s", g.mandate.ID)
	case receipt.State != authority.ReceiptEnforced:
		g.tell("the mandate %s is revoked, but not known to be in force at every gateway yet: caracal receipt watch %s", g.mandate.ID, receipt.ID)
	case !g.quiet:
		g.tell("the mandate %s is revoked, and in force at every gateway", g.mandate.ID)
	}
}

// revoke asks the control plane, and where that cannot be reached the gateway to ask it. An interruption makes it ask for
// nothing more than that it is done.
func (g *governed) revoke(ctx context.Context) (client.Receipt, error) {
	var receipt client.Receipt
	var err error
	for _, by := range []*client.Client{g.control, g.gateway} {
		receipt, err = g.revokeBy(ctx, by)
		var refusal *client.Error
		if err == nil || errors.As(err, &refusal) && refusal.Status < 500 && by == g.gateway {
			return receipt, err
		}
	}
	return receipt, err
}

func (g *governed) revokeBy(ctx context.Context, by *client.Client) (client.Receipt, error) {
	asked, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	receipt, err := by.RevokeMandate(asked, g.mandate.ID, enforcedWait)
	if ctx.Err() == nil {
		return receipt, err
	}
	hurried, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	return by.RevokeMandate(hurried, g.mandate.ID, 0)
}
