package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/client"
)

// key looks at whether the key opens anything, and for how long.
func (x *examination) key(ctx context.Context) bool {
	if x.target.key == "" {
		x.failed("key", "there is none", "set CARACAL_API_KEY, or keep one by `caracal login`")
		return false
	}
	from := x.target.origin("api-key-file")
	who, err := x.client.Session(ctx)
	if err != nil {
		var refusal *client.Error
		next := "look into the control plane's log"
		if errors.As(err, &refusal) && refusal.Code == string(authority.CodeUnauthenticated) {
			next = "it is wrong, revoked, expired, or not allowed from here: let an owner or admin make another (`caracal key create`), and keep it by `caracal login`"
		}
		x.failed("key", fmt.Sprintf("the key of %s is not accepted: %v", from, err), next)
		return false
	}
	x.who = who
	x.found("key", "the key of %s is that of %s", from, describe(who, x.target.workspace))
	x.expiry(ctx)
	return true
}

func (x *examination) expiry(ctx context.Context) {
	if x.who.Session != nil {
		x.found("expiry", "the session ends %s", relative(x.who.Session.ExpiresAt, x.now()))
		return
	}
	if x.who.KeyID == "" {
		return
	}
	k, err := x.client.Key(ctx, x.who.KeyID)
	switch {
	case err != nil:
		x.skipped("expiry", "the key may not look at keys")
	case k.ExpiresAt == nil:
		x.found("expiry", "the key has no end of its own")
	case k.ExpiresAt.Sub(x.now()) < expirySoon:
		x.warned("expiry", "the key ends "+relative(*k.ExpiresAt, x.now()), fmt.Sprintf("`caracal key rotate %s` makes its successor", k.ID))
	default:
		x.found("expiry", "the key ends %s", relative(*k.ExpiresAt, x.now()))
	}
}

// workspace looks at whether the workspace is there for the key, and open.
func (x *examination) workspace(ctx context.Context) bool {
	all, err := x.client.Workspaces(ctx)
	if err := orForbidden(err); err != nil {
		x.failed("workspace", err.Error(), "look into the control plane's log")
		return false
	}
	if all == nil {
		x.skipped("workspace", "the key may not look at workspaces; its own is meant")
		return false
	}
	var slugs []string
	for _, w := range all {
		slugs = append(slugs, w.Slug)
		if w.Slug != x.target.workspace && x.target.workspace != "" {
			continue
		}
		x.revision = w.Revision
		switch state := w.State(); state {
		case authority.WorkspaceActive:
			x.found("workspace", "%s is at revision %d", w.Slug, w.Revision)
		case authority.WorkspaceArchived:
			x.warned("workspace", w.Slug+" is archived: nothing new can be issued or configured", "`caracal workspace unarchive "+w.Slug+"`")
		default:
			x.failed("workspace", w.Slug+" is "+string(state)+": everything is denied", "`caracal workspace restore "+w.Slug+"` brings it back, as long as it is not erased")
		}
		return true
	}
	x.failed("workspace", fmt.Sprintf("there is no workspace %q for this key", x.target.workspace),
		fmt.Sprintf("set CARACAL_WORKSPACE or --workspace to one of: %s", word(strings.Join(slugs, ", "), "none")))
	return false
}

// gateways looks at what every gateway enforces, as the control plane knows it.
func (x *examination) gateways(ctx context.Context) bool {
	all, err := x.client.Gateways(ctx)
	if err != nil {
		if orForbidden(err) != nil {
			x.failed("gateways", err.Error(), "look into the control plane's log")
			return false
		}
		x.skipped("gateways", "the key may not look at gateways")
		return true
	}
	if len(all) == 0 {
		x.warned("gateways", "none was heard of within a day", "`caracal key create NAME --kind gateway` makes a key, and `caracal gateway` runs one")
	}
	instances := map[string]int{}
	for _, g := range all {
		instances[g.Instance]++
	}
	for _, g := range all {
		if instances[g.Instance] > 1 { // several gateways on one machine
			g.Instance = string(g.ID)
		}
		if g.State != client.GatewayGone {
			x.gateway(g)
		}
	}
	return true
}

func (x *examination) gateway(g client.Gateway) {
	check := "gateway " + word(g.Instance, string(g.ID))
	switch {
	case g.State == client.GatewayRevoked:
		x.warned(check, "is revoked: it gets no lease any more", "end the process; `caracal gateway show "+string(g.ID)+"` says when its last lease was over")
	case g.State == client.GatewayFenced:
		x.warned(check, fmt.Sprintf("is fenced: it has no lease and denies everything; it was seen %s", relative(g.SeenAt, x.now())),
			"see that it runs and reaches the control plane; where the process is dead, `caracal gateway forget "+string(g.ID)+" --reason …` says so")
	case !g.Connected && g.Lease == nil:
		x.warned(check, fmt.Sprintf("decides without a lease and is away, and was seen %s: each revocation waits for it", relative(g.SeenAt, x.now())),
			"upgrade it; where the process is dead, `caracal gateway forget "+string(g.ID)+" --reason …` says so")
	case !g.Connected:
		x.warned(check, fmt.Sprintf("is away, and was seen %s; it enforces revision %d", relative(g.SeenAt, x.now()), g.Revision),
			"see that it runs and reaches the control plane: its log says `enterprise_sync failed` or `enterprise_sync refused`, with the cause; look at it by --gateway")
	case g.Lease != nil && g.Lease.EndsAt.Before(x.now()):
		x.warned(check, fmt.Sprintf("has not renewed its lease, which was to end %s: it may be cut off", relative(g.Lease.EndsAt, x.now())),
			"see that it runs and reaches the control plane; once its lease is known to be over it is shown as fenced")
	case g.EnvoyRefusal != "":
		x.failed(check, "its Envoy does not accept the configuration: "+g.EnvoyRefusal, "look at the destination that it names: `caracal destination list`")
	case g.Revision < x.revision:
		x.warned(check, fmt.Sprintf("enforces revision %d of %d", g.Revision, x.revision), "look again in a moment; `curl -X POST <gateway>/admin/sync` makes it look")
	default:
		x.found(check, "enforces revision %d, which is the newest", g.Revision)
	}
}

// proxySaid is what a gateway says of its proxy port; nil is none.
type proxySaid struct {
	Port     uint16 `json:"port"`
	Inspects bool   `json:"inspects"`
}

func (p *proxySaid) String() string {
	switch {
	case p == nil:
		return "it has no proxy port"
	case p.Inspects:
		return fmt.Sprintf("its proxy port is %d, where TLS is seen inside", p.Port)
	default:
		return fmt.Sprintf("its proxy port is %d, where TLS is not seen inside", p.Port)
	}
}

// gatewayItself asks a gateway how it is, from here.
func (x *examination) gatewayItself(ctx context.Context, address string) {
	check := "gateway " + address
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		x.failed(check, "it is not of the form https://host[:port]", "write the URL that agents call")
		return
	}
	// No key goes along, so that no TLS is needed.
	c, err := client.New(client.Config{URL: address, CA: x.target.ca, AllowPlain: true})
	if err != nil {
		x.failed(check, err.Error(), "write the URL that agents call")
		return
	}
	health, err := c.Probe(ctx, "/health")
	if err != nil {
		x.failed(check, err.Error(), "see that the gateway and its Envoy run, and that this is the gateway port")
		return
	}
	var said struct {
		Status  string   `json:"status"`
		Reasons []string `json:"reasons"`
		Sync    *struct {
			Connected bool    `json:"connected"`
			LastSync  *string `json:"last_sync"`
			Policies  int     `json:"policies_synced"`
		} `json:"enterprise_sync"`
		Proxy *proxySaid `json:"proxy"`
	}
	if health.Status != http.StatusOK || json.Unmarshal(health.Body, &said) != nil || said.Sync == nil {
		x.failed(check, fmt.Sprintf("GET /health answered %d and not what a gateway says", health.Status), "see that this is the gateway port, and not the control plane's or a proxy's")
		return
	}
	why := strings.Join(said.Reasons, "; ")
	switch said.Status {
	case "ok":
		x.found(check, "is ok, with %d policies; %s", said.Sync.Policies, said.Proxy)
	case "degraded":
		x.warned(check, fmt.Sprintf("enforces its last good state: %s; %s", why, said.Proxy), "the gateway's log has the causes")
	default:
		x.failed(check, "denies everything: "+why, "the gateway's log has the causes; see that ENTERPRISE_URL, ENTERPRISE_API_KEY and ENTERPRISE_WORKSPACE are right")
	}
}
