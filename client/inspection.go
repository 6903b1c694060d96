package client

import (
	"context"
	"time"
)

// InspectionCA is what the clients of a workspace's gateways trust, so that requests inside of TLS can be decided on.
type InspectionCA struct {
	Certificate string    `json:"certificate"` // PEM
	NotAfter    time.Time `json:"not_after"`
}

// InspectionCA reads the workspace's inspection CA.
func (c *Client) InspectionCA(ctx context.Context) (InspectionCA, error) {
	return get[InspectionCA](ctx, c, c.collection("inspection-ca"))
}
