package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caracal-gateway/caracal/authority"
)

func wantCheckViolation(t *testing.T, what string, err error) {
	t.Helper()
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "23514" {
		t.Errorf("%s: error %v, want a violation of a check", what, err)
	}
}

func TestTheDatabaseKeepsTheBindingOfAMandate(t *testing.T) {
	_, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	w := fill(t, s, "mine")
	insert := func(m authority.Mandate) error {
		return s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error { return tx.InsertMandate(ctx, m) })
	}
	bound := aMandate(w, "mine", now())
	bound.ID = authority.NewID[authority.MandateID]()
	bound.Confirmation = &authority.Confirmation{Certificate: authority.ThumbprintOf([]byte("somebody's"))}
	if err := insert(bound); err != nil {
		t.Fatal(err)
	}
	var kept authority.Mandate
	var listed []authority.Mandate
	err := s.Read(t.Context(), w.id, func(ctx context.Context, tx *Tx) (err error) {
		if kept, err = tx.Mandate(ctx, bound.ID); err != nil {
			return err
		}
		listed, err = tx.Mandates(ctx, MandateFilter{}, now(), Page{Size: 1})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(bound, kept); diff != "" {
		t.Errorf("it is read otherwise than it was written (-want +got):\n%s", diff)
	}
	if len(listed) != 1 || listed[0].ID == bound.ID && listed[0].Confirmation == nil {
		t.Errorf("a list tells nothing of the binding: %+v", listed)
	}
	child := below(bound)
	child.Confirmation = nil
	wantCheckViolation(t, "a child that sheds its parent's binding", insert(child))
	child.Confirmation = &authority.Confirmation{Certificate: authority.ThumbprintOf([]byte("another's"))}
	if err := insert(child); err != nil {
		t.Errorf("a child that is bound to another certificate: %v", err)
	}
	for what, statement := range map[string]string{
		"a binding that is taken away": "UPDATE mandates SET confirmation = NULL WHERE confirmation IS NOT NULL",
		"a binding that is added":      `UPDATE mandates SET confirmation = '{"x5t#S256": "x"}' WHERE confirmation IS NULL`,
	} {
		err := s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
			_, err := tx.tx.Exec(ctx, statement)
			return err
		})
		wantCheckViolation(t, what, err)
	}
}

func TestASigningKeyThatLeftTheSetNeverComesBack(t *testing.T) {
	_, appURL := cluster.New(t)
	s := openStore(t, appURL, 2)
	w := fill(t, s, "mine")
	at := now()
	key := SealedKey{ID: "aaaaaaaaaaaaaaaa", Purpose: "token", Sealed: []byte("x"), NotBefore: at, RetireAt: at.Add(time.Hour), CreatedAt: at}
	err := s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
		return errors.Join(
			tx.InsertSigningKey(ctx, key),
			tx.RetireSigningKey(ctx, key.ID, at.Add(2*time.Hour)), // gives it no time
			tx.RetireSigningKey(ctx, key.ID, at.Add(time.Minute)),
			tx.WithdrawSigningKey(ctx, key.ID, at, false),
			tx.WithdrawSigningKey(ctx, key.ID, at.Add(time.Hour), true), // is over already
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	key.RetireAt, key.WithdrawnAt = at.Add(time.Minute), &at
	err = s.Read(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
		all, err := tx.SigningKeys(ctx)
		for _, k := range all {
			if k.Purpose == "token" {
				if diff := cmp.Diff(key, k); diff != "" {
					t.Errorf("the key (-want +got):\n%s", diff)
				}
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for what, statement := range map[string]string{
		"a longer life":             "UPDATE signing_keys SET retire_at = retire_at + interval '1 hour'",
		"a return to the set":       "UPDATE signing_keys SET withdrawn_at = NULL WHERE withdrawn_at IS NOT NULL",
		"a revocation of no leaver": "UPDATE signing_keys SET revoked_at = now() WHERE withdrawn_at IS NULL",
	} {
		err := s.Write(t.Context(), w.id, func(ctx context.Context, tx *Tx) error {
			_, err := tx.tx.Exec(ctx, statement)
			return err
		})
		wantCheckViolation(t, what, err)
	}
}
