package controlplane

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

const (
	// publishAhead is for how long the next keys are known to gateways before they sign, when the service replaces keys by
	// itself.
	publishAhead = 24 * time.Hour
	// The same when somebody asks for a replacement, and the bounds of what can be asked for.
	defaultLead = 10 * time.Minute
	maxLead     = 30 * 24 * time.Hour
	// rotationEvery is how often the service looks whether keys are to be replaced or withdrawn.
	rotationEvery = 10 * time.Minute
)

// SigningKeyState says what a signing key does.
type SigningKeyState string

// The states of a signing key.
const (
	SigningKeyPublished SigningKeyState = "published" // known to gateways, and will sign
	SigningKeySigning   SigningKeyState = "signing"
	SigningKeyRetired   SigningKeyState = "retired"   // signs no more; what it signed holds
	SigningKeyWithdrawn SigningKeyState = "withdrawn" // left the key set, since nothing that it signed is in force
	SigningKeyRevoked   SigningKeyState = "revoked"   // left the key set, and with it what it signed
)

// SigningKey tells of one of a workspace's own keys all but the key.
type SigningKey struct {
	ID        authority.SigningKeyID `json:"signing_key_id"`
	Purpose   token.Purpose          `json:"purpose"`
	State     SigningKeyState        `json:"state"`
	CreatedAt time.Time              `json:"created_at"`
	// The key signs from NotBefore to RetireAt, unless a newer one does.
	NotBefore   time.Time  `json:"not_before"`
	RetireAt    time.Time  `json:"retire_at"`
	WithdrawnAt *time.Time `json:"withdrawn_at"`
	RevokedAt   *time.Time `json:"revoked_at"`
}

// SigningKeys are those of a workspace, the newest first.
type SigningKeys struct {
	Items []SigningKey `json:"items"`
}

// signingKeyPrefix stands before the kid in the id of a key.
const signingKeyPrefix = "sgk_"

// kid is what the key set knows the key by.
func (k SigningKey) kid() string { return strings.TrimPrefix(string(k.ID), signingKeyPrefix) }

// tellKeys says of each key what it does at an instant. The root signs nothing but key sets, and is not among them.
func tellKeys(all []postgres.SealedKey, now time.Time) []SigningKey {
	told := []SigningKey{}
	signs := map[string]bool{} // purposes whose signer has been told
	for _, k := range all {
		if k.Purpose == string(token.PurposeRoot) {
			continue
		}
		key := SigningKey{
			ID: signingKeyPrefix + authority.SigningKeyID(k.ID), Purpose: token.Purpose(k.Purpose), CreatedAt: k.CreatedAt, NotBefore: k.NotBefore, RetireAt: k.RetireAt,
			WithdrawnAt: k.WithdrawnAt, RevokedAt: k.RevokedAt,
		}
		switch {
		case k.RevokedAt != nil:
			key.State = SigningKeyRevoked
		case k.WithdrawnAt != nil:
			key.State = SigningKeyWithdrawn
		case now.Before(k.NotBefore):
			key.State = SigningKeyPublished
		case signs[k.Purpose] || !now.Before(k.RetireAt):
			key.State = SigningKeyRetired
		default:
			key.State, signs[k.Purpose] = SigningKeySigning, true
		}
		told = append(told, key)
	}
	return told
}

// SigningKeys lists the workspace's own keys.
func (s *Service) SigningKeys(ctx context.Context, c Caller) ([]SigningKey, error) {
	return read(ctx, s, c, allowed("list_signing_keys"), func(ctx context.Context, tx *postgres.Tx) ([]SigningKey, error) {
		all, err := tx.SigningKeys(ctx)
		return tellKeys(all, s.now()), err
	})
}

// SigningKey finds one of the workspace's own keys.
func (s *Service) SigningKey(ctx context.Context, c Caller, id authority.SigningKeyID) (SigningKey, error) {
	return read(ctx, s, c, allowed("get_signing_key"), func(ctx context.Context, tx *postgres.Tx) (SigningKey, error) {
		all, err := tx.SigningKeys(ctx)
		if err != nil {
			return SigningKey{}, err
		}
		key, ok := named(tellKeys(all, s.now()), id)
		if !ok {
			return key, authority.NotFound("signing key")
		}
		return key, nil
	})
}

// KeyRotation asks for new signing keys.
type KeyRotation struct {
	// LeadSeconds is for how long gateways know the new keys before these sign; nil means ten minutes.
	LeadSeconds *int64 `json:"lead_seconds"`
}

// RotateSigningKeys publishes a new key for each purpose, which signs after the lead, and has the present ones retire
// then. While keys wait for their time nothing changes: a rotation that is asked for twice is one.
func (s *Service) RotateSigningKeys(ctx context.Context, c Caller, r KeyRotation) (Written[SigningKeys], error) {
	op := allowed("rotate_signing_keys")
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (SigningKeys, error) {
		lead := defaultLead
		if r.LeadSeconds != nil {
			if *r.LeadSeconds < 1 || *r.LeadSeconds > int64(maxLead/time.Second) {
				return SigningKeys{}, authority.Invalid("lead_seconds", "is 1 to %d", int64(maxLead/time.Second))
			}
			lead = time.Duration(*r.LeadSeconds) * time.Second
		}
		all, err := tx.SigningKeys(ctx)
		if err != nil {
			return SigningKeys{}, err
		}
		before := tellKeys(all, ch.at)
		if slices.ContainsFunc(before, func(k SigningKey) bool { return k.State == SigningKeyPublished }) {
			ch.unchanged = true
			return SigningKeys{before}, nil
		}
		if err := s.replaceKeys(ctx, tx, ch, all, ch.at.Add(lead)); err != nil {
			return SigningKeys{}, err
		}
		return tellRotation(ctx, tx, ch, before)
	})
}

// replaceKeys adds a key for each purpose, which signs from an instant on, and retires those that sign until then.
func (s *Service) replaceKeys(ctx context.Context, tx *postgres.Tx, ch *change, all []postgres.SealedKey, from time.Time) error {
	for _, purpose := range purposes() {
		next := s.newKey(purpose, ch.at, from)
		for _, k := range all {
			if k.Purpose == string(purpose) && k.WithdrawnAt == nil {
				if err := tx.RetireSigningKey(ctx, k.ID, next.NotBefore.Add(outlasts(purpose))); err != nil {
					return err
				}
			}
		}
		if err := tx.InsertSigningKey(ctx, next); err != nil {
			return err
		}
	}
	return nil
}

// outlasts is for how long a key is accepted after its successor has begun to sign: another replica, whose clock is
// behind, signs with it a little longer, and a token holds only while its key is in its period.
func outlasts(purpose token.Purpose) time.Duration {
	if purpose == token.PurposeToken {
		return signingMargin + maxBoundLifetime
	}
	return signingMargin
}

// tellRotation tells a change of keys, with the keys as they are after it.
func tellRotation(ctx context.Context, tx *postgres.Tx, ch *change, before []SigningKey) (SigningKeys, error) {
	all, err := tx.SigningKeys(ctx)
	if err != nil {
		return SigningKeys{}, err
	}
	after := tellKeys(all, ch.at)
	ch.tell(changed(authority.EventSigningKeysRotated, before, after))
	return SigningKeys{after}, nil
}

// RevokeSigningKey takes a key that may have leaked out of the key set at once, and with it all that it signed: tokens are
// refused, mandates no longer verify. Another key does its work at once.
func (s *Service) RevokeSigningKey(ctx context.Context, c Caller, id authority.SigningKeyID) (Written[SigningKey], error) {
	op := allowed("revoke_signing_key")
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (SigningKey, error) {
		all, err := tx.SigningKeys(ctx)
		if err != nil {
			return SigningKey{}, err
		}
		before, ok := named(tellKeys(all, ch.at), id)
		if !ok {
			return SigningKey{}, authority.NotFound("signing key")
		}
		if before.WithdrawnAt != nil {
			ch.unchanged = true
			return before, nil
		}
		if err := tx.WithdrawSigningKey(ctx, before.kid(), ch.at, true); err != nil {
			return SigningKey{}, err
		}
		if err := s.standIn(ctx, tx, ch, before); err != nil {
			return SigningKey{}, err
		}
		if all, err = tx.SigningKeys(ctx); err != nil {
			return SigningKey{}, err
		}
		after, _ := named(tellKeys(all, ch.at), id)
		ch.tell(changed(authority.EventSigningKeyRevoked, before, after))
		return after, nil
	})
}

// standIn adds a key that does what a revoked one did, or was to do.
func (s *Service) standIn(ctx context.Context, tx *postgres.Tx, ch *change, revoked SigningKey) error {
	from := ch.at.Add(-signingMargin)
	switch revoked.State {
	case SigningKeyPublished:
		from = revoked.NotBefore
	case SigningKeySigning:
	default:
		return nil
	}
	return tx.InsertSigningKey(ctx, s.newKey(revoked.Purpose, ch.at, from))
}

func named(all []SigningKey, id authority.SigningKeyID) (SigningKey, bool) {
	i := slices.IndexFunc(all, func(k SigningKey) bool { return k.ID == id })
	if i < 0 {
		return SigningKey{}, false
	}
	return all[i], true
}

// keepKeys replaces the keys of every workspace before they are too old, and withdraws those whose work is over. Replicas
// that find the same take turns, and the second finds it done.
func (s *Service) keepKeys(ctx context.Context) error {
	all, err := s.store.LookUpWorkspaces(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, w := range all {
		if err := s.keepKeysOf(ctx, w.ID); err != nil && !errors.Is(err, postgres.ErrNotFound) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

func (s *Service) keepKeysOf(ctx context.Context, w authority.WorkspaceID) error {
	var idle bool
	err := s.store.Read(ctx, w, func(ctx context.Context, tx *postgres.Tx) error {
		all, err := tx.SigningKeys(ctx)
		if err != nil {
			return err
		}
		withdrawn, err := spent(ctx, tx, all, s.now())
		idle = len(withdrawn) == 0 && !aged(all, s.now())
		return err
	})
	if err != nil || idle {
		return err
	}
	return s.maintain(ctx, w, func(ctx context.Context, tx *postgres.Tx, ch *change) error {
		all, err := tx.SigningKeys(ctx)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return postgres.ErrNotFound
		}
		before := tellKeys(all, ch.at)
		withdrawn, err := spent(ctx, tx, all, ch.at)
		if err != nil {
			return err
		}
		for _, id := range withdrawn {
			if err := tx.WithdrawSigningKey(ctx, id, ch.at, false); err != nil {
				return err
			}
			key, _ := named(before, signingKeyPrefix+authority.SigningKeyID(id))
			ch.tell(changed(authority.EventSigningKeysRetired, key, nil))
		}
		if !aged(all, ch.at) {
			return nil
		}
		if err := s.replaceKeys(ctx, tx, ch, all, s.succession(all, ch.at)); err != nil {
			return err
		}
		_, err = tellRotation(ctx, tx, ch, before)
		return err
	})
}

// newest are the terms of the newest key of each purpose that is in the key set.
func newest(all []postgres.SealedKey) map[string]postgres.SealedKey {
	found := map[string]postgres.SealedKey{}
	for _, k := range all { // the newest comes first
		if _, ok := found[k.Purpose]; !ok && k.WithdrawnAt == nil && k.Purpose != string(token.PurposeRoot) {
			found[k.Purpose] = k
		}
	}
	return found
}

// aged reports whether the successors of the newest keys are to be published.
func aged(all []postgres.SealedKey, now time.Time) bool {
	for _, k := range newest(all) {
		if !now.Before(k.NotBefore.Add(signingAge-publishAhead)) || !now.Before(k.RetireAt.Add(-publishAhead)) {
			return true
		}
	}
	return false
}

// succession is when the next keys begin to sign: after they have been known for a while, or at once where a key that
// signs would be missing meanwhile.
func (s *Service) succession(all []postgres.SealedKey, now time.Time) time.Time {
	from := now.Add(publishAhead)
	for _, k := range newest(all) {
		if k.RetireAt.Before(from) {
			return now.Add(-signingMargin)
		}
	}
	return from
}

// spent lists the keys whose period is over and of which nothing is in force any more.
func spent(ctx context.Context, tx *postgres.Tx, all []postgres.SealedKey, now time.Time) ([]string, error) {
	var ids []string
	for _, k := range all {
		if k.WithdrawnAt != nil || k.Purpose == string(token.PurposeRoot) || now.Before(k.RetireAt.Add(endedKept)) {
			continue
		}
		if k.Purpose == string(token.PurposeMandate) {
			last, err := tx.LastMandateBefore(ctx, k.RetireAt)
			if err != nil {
				return nil, err
			}
			if now.Before(last.Add(endedKept)) {
				continue
			}
		}
		if k.Purpose == string(token.PurposeReceipt) {
			signed, err := tx.SignedReceipts(ctx, k.ID)
			if err != nil {
				return nil, err
			}
			if signed { // a receipt is verified for as long as there is a workspace
				continue
			}
		}
		ids = append(ids, k.ID)
	}
	return ids, nil
}
