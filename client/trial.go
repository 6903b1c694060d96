package client

import (
	"context"

	"github.com/caracal-gateway/caracal/authority"
)

// Trial asks how a request would be judged, without one being made.
type Trial struct {
	URL         string                `json:"url"` // of a CONNECT host:port
	Method      string                `json:"method,omitempty"`
	PrincipalID authority.PrincipalID `json:"principal_id,omitempty"`
	MandateID   authority.MandateID   `json:"mandate_id,omitempty"`
}

// TrialAnswer says what a request is, how it would be reached and which mandate permits it.
type TrialAnswer struct {
	Method      string             `json:"method"`
	URL         string             `json:"url"`
	Reached     bool               `json:"reached"`
	Permitted   *bool              `json:"permitted"` // nil where nobody was said to send it
	Reason      *authority.Reason  `json:"reason"`
	Message     string             `json:"message,omitempty"`
	Resource    authority.Resource `json:"resource,omitempty"`
	Actions     authority.Actions  `json:"actions"`
	Destination *struct {
		ID   authority.DestinationID `json:"destination_id"`
		Name string                  `json:"name"`
		Host string                  `json:"host"`
	} `json:"destination"`
	Rule   *authority.Rule  `json:"rule"`
	Tunnel authority.Tunnel `json:"tunnel"`
	Route  *struct {
		Kind               string            `json:"kind"`
		TLS                authority.TLSMode `json:"tls"`
		ConnectTo          string            `json:"connect_to,omitempty"`
		Addresses          []string          `json:"addresses,omitempty"`
		OwnRoots           bool              `json:"own_roots"`
		Credential         string            `json:"credential,omitempty"`
		ClientCertificate  string            `json:"client_certificate,omitempty"`
		MaxDurationSeconds int64             `json:"max_duration_seconds,omitempty"`
	} `json:"route"`
	PrincipalID authority.PrincipalID `json:"principal_id,omitempty"`
	MandateID   authority.MandateID   `json:"mandate_id,omitempty"`
	Selected    bool                  `json:"selected"`
}

// TestDestination asks how a request would be judged.
func (c *Client) TestDestination(ctx context.Context, t Trial) (TrialAnswer, error) {
	return post[TrialAnswer](ctx, c, c.collection("destinations/test"), t)
}
