package controlplane

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// Trial asks how a request would be judged, without one being made.
type Trial struct {
	// URL of the request; for the method CONNECT host:port.
	URL    string `json:"url"`
	Method string `json:"method"` // GET unless told
	// PrincipalID says who would send it; empty to look at the catalog alone.
	PrincipalID authority.PrincipalID `json:"principal_id"`
	// MandateID names the mandate that would be presented; empty for the one that would be selected.
	MandateID authority.MandateID `json:"mandate_id"`
}

// TrialAnswer says what a request is and how it would be reached, and by which mandate. Policies of Rego, the address that
// the host resolves to and the state of a gateway are not asked.
type TrialAnswer struct {
	Method string `json:"method"`
	URL    string `json:"url"` // in its one spelling
	// Reached is false where the catalog refuses the request. Reason and Message then say why, and otherwise why no mandate
	// permits it.
	Reached bool              `json:"reached"`
	Reason  *authority.Reason `json:"reason"`
	Message string            `json:"message,omitempty"`
	// Resource and Actions are what the request needs; empty for a tunnel in which each request is judged by itself.
	Resource    authority.Resource    `json:"resource,omitempty"`
	Actions     authority.Actions     `json:"actions"`
	Destination *TrialDestination     `json:"destination"` // nil: none serves the host
	Rule        *authority.Rule       `json:"rule"`        // nil: none maps the request
	Tunnel      authority.Tunnel      `json:"tunnel"`      // what becomes of a CONNECT to the host
	Route       *TrialRoute           `json:"route"`       // nil: it is not reached
	PrincipalID authority.PrincipalID `json:"principal_id,omitempty"`
	// MandateID is the mandate that permits the request, or the one that was named; empty for none.
	MandateID authority.MandateID `json:"mandate_id,omitempty"`
	Selected  bool                `json:"selected"` // it was not named
	// Permitted is nil where nobody was said to send the request, or where each request in a tunnel is judged by itself.
	Permitted *bool `json:"permitted"`
}

// TrialDestination is the destination that serves a request.
type TrialDestination struct {
	ID   authority.DestinationID `json:"destination_id"`
	Name string                  `json:"name"`
	Host string                  `json:"host"`
}

// TrialRoute is how an upstream is reached.
type TrialRoute struct {
	// Kind is public where any public address does, private where the destination lists the addresses.
	Kind      string            `json:"kind"`
	TLS       authority.TLSMode `json:"tls"`
	ConnectTo string            `json:"connect_to,omitempty"`
	Addresses []netip.Prefix    `json:"addresses,omitempty"`
	OwnRoots  bool              `json:"own_roots"` // the destination lists the certificates to chain to
	// Credential and ClientCertificate are names of what the gateway sends along and shows; empty for none.
	Credential         string `json:"credential,omitempty"`
	ClientCertificate  string `json:"client_certificate,omitempty"`
	MaxDurationSeconds int64  `json:"max_duration_seconds,omitempty"`
}

// maxMethod is the length of the longest method that is asked about, in bytes.
const maxMethod = 32

// TestDestination judges a request by the catalog, and by the mandates of whoever would send it, as of now. It sends
// nothing anywhere and records nothing.
func (s *Service) TestDestination(ctx context.Context, c Caller, t Trial) (TrialAnswer, error) {
	op := allowed("test_destination")
	if t.Method == "" {
		t.Method = "GET"
	}
	if len(t.Method) > maxMethod {
		return TrialAnswer{}, authority.Invalid("method", "is longer than %d bytes", maxMethod)
	}
	target, err := t.target()
	if err != nil {
		return TrialAnswer{}, authority.Within("url", err)
	}
	return read(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx) (TrialAnswer, error) {
		all, err := tx.AllDestinations(ctx)
		if err != nil {
			return TrialAnswer{}, err
		}
		catalog, err := authority.NewCatalog(all)
		if err != nil {
			return TrialAnswer{}, fmt.Errorf("read the catalog: %w", err)
		}
		a := TrialAnswer{Method: t.Method, URL: target.URL(), Actions: authority.Actions{}, PrincipalID: t.PrincipalID, MandateID: t.MandateID}
		if t.Method == methodConnect {
			err = a.tunnel(catalog, target)
		} else {
			err = a.request(catalog, target)
		}
		if err != nil || !a.Reached || a.Resource == "" || t.PrincipalID == "" && t.MandateID == "" {
			return a, err
		}
		return a, s.permitting(ctx, tx, &a)
	})
}

const methodConnect = "CONNECT"

// target reads the URL; that of a CONNECT is host:port.
func (t Trial) target() (authority.Target, error) {
	if t.Method != methodConnect {
		return authority.ParseTarget(t.URL)
	}
	if strings.Contains(t.URL, "/") || !strings.Contains(t.URL, ":") {
		return authority.Target{}, authority.Invalid("", "of the method CONNECT is host:port")
	}
	return authority.ParseTarget("https://" + t.URL)
}

// refuse ends the answer where the rules refuse; any other error stays one.
func (a *TrialAnswer) refuse(err error) error {
	var told *authority.Error
	if !errors.As(err, &told) || told.Reason == "" {
		return err
	}
	a.deny(told.Reason, told.Message)
	return nil
}

// request says what a request is.
func (a *TrialAnswer) request(catalog *authority.Catalog, target authority.Target) error {
	// A port that no destination has is refused below, in the words for a request.
	how, destination, _ := catalog.Through(target.Host, target.Port)
	a.Tunnel = how
	a.serves(destination)
	match, err := catalog.Resolve(a.Method, target)
	if err != nil {
		return a.refuse(err)
	}
	a.serves(match.Destination)
	a.reach(match.Destination, target.Scheme)
	a.Rule, a.Resource, a.Actions = match.Rule, match.Resource, authority.Actions{match.Action}
	return nil
}

// tunnel says what becomes of a CONNECT.
func (a *TrialAnswer) tunnel(catalog *authority.Catalog, target authority.Target) error {
	a.URL = fmt.Sprintf("%s:%d", target.Host, target.Port)
	how, destination, err := catalog.Through(target.Host, target.Port)
	a.Tunnel = how
	a.serves(destination)
	if err != nil {
		return a.refuse(err)
	}
	scheme := "https"
	if destination != nil && destination.TLS == authority.TLSNone || destination == nil && target.Port == 80 {
		scheme = "http"
	}
	a.reach(destination, scheme)
	if how != authority.TunnelPassthrough {
		a.Message = "each request inside is judged by itself: try its URL"
		return nil
	}
	a.Resource, a.Actions = authority.TunnelResource(target.Host, target.Port), authority.AllActions()
	return nil
}

func (a *TrialAnswer) serves(d *authority.Destination) {
	if d != nil {
		a.Destination = &TrialDestination{d.ID, d.Name, d.Host}
	}
}

func (a *TrialAnswer) reach(d *authority.Destination, scheme string) {
	a.Reached, a.Route = true, &TrialRoute{Kind: "public", TLS: authority.TLSRequired}
	if scheme == "http" {
		a.Route.TLS = authority.TLSNone
	}
	if d == nil {
		return
	}
	r := a.Route
	if d.Private() {
		r.Kind = "private"
	}
	r.ConnectTo, r.Addresses, r.OwnRoots, r.ClientCertificate, r.MaxDurationSeconds = d.ConnectTo, d.Addresses, d.CA != "", d.ClientCertificate, d.MaxDurationSeconds
	if d.Credential != nil {
		r.Credential = d.Credential.Name
	}
}

// permitting finds the mandate that permits what is asked, or says what would. Who sends the request is taken to show the
// certificate that a mandate asks for.
func (s *Service) permitting(ctx context.Context, tx *postgres.Tx, a *TrialAnswer) error {
	q := authority.Inquiry{Presenter: a.PrincipalID, Unpresented: true, Resource: a.Resource, At: s.now()}
	permitted := false
	a.Permitted = &permitted
	if a.MandateID != "" {
		known, err := registry(ctx, tx, a.MandateID)
		if err != nil {
			return err
		}
		permitted = a.holds(known, q)
		return nil
	}
	principal, err := tx.Principal(ctx, a.PrincipalID)
	if err != nil {
		return orNotFound("principal", err)
	}
	candidates, err := tx.Mandates(ctx, postgres.MandateFilter{SubjectID: a.PrincipalID, State: postgres.MandateActive}, q.At, postgres.Page{Size: maxQuota})
	if err != nil {
		return err
	}
	known, err := registryOf(ctx, tx, candidates, a.Resource)
	if err != nil {
		return err
	}
	if a.MandateID, permitted = authority.Select(known, slices.Values(candidates), q, a.Actions...); permitted {
		a.Selected = true
		return nil
	}
	a.deny(authority.ReasonNoMandateApplies, fmt.Sprintf("No live mandate of %s covers %s on %s: request one.", principal.Name, strings.Join(texts(a.Actions), ", "), a.Resource))
	return nil
}

func (a *TrialAnswer) deny(reason authority.Reason, message string) {
	a.Reason, a.Message = &reason, message
}

// holds reports whether the mandate that was named permits every action, and notes why it does not. A subject that was not
// told is the mandate's own.
func (a *TrialAnswer) holds(known mandateRegistry, q authority.Inquiry) bool {
	if q.Presenter == "" {
		q.Presenter = known.mandates[a.MandateID].SubjectID
		a.PrincipalID = q.Presenter
	}
	q.Mandate = a.MandateID
	for _, q.Action = range a.Actions {
		if f := authority.Validate(known, q); !f.Holds() {
			a.deny(f.Reason, f.Message)
			return false
		}
	}
	return true
}

// registryOf reads what judging those of the mandates needs to know that name the resource.
func registryOf(ctx context.Context, tx *postgres.Tx, mandates []authority.Mandate, resource authority.Resource) (mandateRegistry, error) {
	all := mandateRegistry{mandates: map[authority.MandateID]authority.Mandate{}, principals: map[authority.PrincipalID]authority.Principal{}}
	for _, m := range mandates {
		if !slices.ContainsFunc(m.ResourceScope, func(p authority.ResourcePattern) bool { return p.Matches(resource) }) {
			continue
		}
		one, err := registry(ctx, tx, m.ID)
		if err != nil {
			return all, err
		}
		maps.Copy(all.mandates, one.mandates)
		maps.Copy(all.principals, one.principals)
	}
	return all, nil
}
