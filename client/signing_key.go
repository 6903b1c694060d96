package client

import (
	"context"
	"time"
)

// SigningKey tells of one of a workspace's own keys all but the key.
type SigningKey struct {
	ID          string     `json:"signing_key_id"`
	Purpose     string     `json:"purpose"` // token, mandate or bundle
	State       string     `json:"state"`   // published, signing, retired, withdrawn or revoked
	CreatedAt   time.Time  `json:"created_at"`
	NotBefore   time.Time  `json:"not_before"` // signs from then on
	RetireAt    time.Time  `json:"retire_at"`  // signs no more from then on
	WithdrawnAt *time.Time `json:"withdrawn_at"`
	RevokedAt   *time.Time `json:"revoked_at"`
}

// SigningKeys lists the keys that the workspace itself signs with, the newest first.
func (c *Client) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	all, err := get[page[SigningKey]](ctx, c, c.collection("signing-keys"))
	return all.Items, err
}

// SigningKey finds one of them.
func (c *Client) SigningKey(ctx context.Context, id string) (SigningKey, error) {
	return get[SigningKey](ctx, c, single("signing-keys", id, ""))
}

// RotateSigningKeys publishes new keys, which gateways know for the lead before these sign; 0 for the usual lead.
func (c *Client) RotateSigningKeys(ctx context.Context, lead time.Duration) ([]SigningKey, error) {
	in := map[string]int64{}
	if lead > 0 {
		in["lead_seconds"] = int64(lead / time.Second)
	}
	all, err := post[page[SigningKey]](ctx, c, c.collection("signing-keys")+"/rotate", in)
	return all.Items, err
}

// RevokeSigningKey takes a key that may have leaked out of use, and with it all that it signed.
func (c *Client) RevokeSigningKey(ctx context.Context, id string) (SigningKey, error) {
	return post[SigningKey](ctx, c, single("signing-keys", id, "revoke"), nil)
}
