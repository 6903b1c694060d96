package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
	"github.com/caracal-gateway/caracal/token"
)

const (
	answerLifetime    = 24 * time.Hour
	maxIdempotencyKey = 255
	refusalTimeout    = 3 * time.Second
)

// purposeAnswer separates kept answers from private keys in the vault.
const purposeAnswer token.Purpose = "answer"

// change is one write while its transaction runs.
type change struct {
	caller    Caller
	at        time.Time
	revision  uint64
	events    []authority.Event
	unchanged bool // there is nothing to do: the transaction is given up
	expected  bool // the condition of the caller, if it has one, was held against the thing
}

// tell adds an event to the change. What every event of the change has in common is filled in.
func (ch *change) tell(e authority.Event) {
	ch.events = append(ch.events, ch.caller.event(e, ch.at, ch.revision))
}

func (c Caller) event(e authority.Event, at time.Time, revision uint64) authority.Event {
	e.ID = authority.NewID[authority.EventID]()
	e.WorkspaceID = c.workspace
	e.Time = at
	e.ActorID = c.principal.ID
	e.ActorKeyID = c.key
	e.Revision = revision
	return e
}

// before is the revision that stays when the transaction is given up.
func (ch *change) before(op operation) uint64 {
	if op.quiet {
		return ch.revision
	}
	return ch.revision - 1
}

// errGiveUp ends a transaction that has nothing to commit.
var errGiveUp = errors.New("nothing to commit")

// write is the choke point of every change: it authorises the caller and runs the change in one transaction with its
// revision, its events and the memory of its answer. The change validates before it touches anything.
func write[T any](ctx context.Context, s *Service, c Caller, op operation, apply func(context.Context, *postgres.Tx, *change) (T, error)) (Written[T], error) {
	var (
		result   Written[T]
		none     Written[T]
		timeline string
	)
	if err := s.permit(ctx, c, op); err != nil {
		return none, err
	}
	if len(c.once.key) > maxIdempotencyKey {
		return none, authority.Invalid("Idempotency-Key", "has at most %d characters", maxIdempotencyKey)
	}
	enter := s.store.Write
	if op.many {
		enter = s.store.WriteRevocation
	}
	if op.whileRestored() {
		enter = s.store.WriteRestored
	}
	err := enter(ctx, c.workspace, func(ctx context.Context, tx *postgres.Tx) error {
		ch := &change{caller: c, at: s.now()}
		err := s.abreast(ctx, tx, c)
		if err != nil {
			return err
		}
		timeline = tx.State().Timeline
		if ch.revision, err = revise(ctx, tx, op, ch.at); err != nil {
			return err
		}
		if err := recheck(ctx, tx, &ch.caller, ch.at); err != nil {
			return err
		}
		if err := ch.caller.may(op); err != nil {
			return err
		}
		if replay, err := recall[T](ctx, s, tx, ch, op); err != nil {
			return err
		} else if replay != nil {
			result = *replay
			return errGiveUp
		}
		if w, err := tx.Workspace(ctx); err != nil {
			return err
		} else if err := op.stands(w); err != nil {
			return err
		}
		value, err := apply(ctx, tx, ch)
		if err == nil {
			err = ch.unconditional()
		}
		if err != nil {
			return err
		}
		result = Written[T]{Value: value, Revision: ch.revision}
		if ch.unchanged {
			result.Revision = ch.before(op)
			return errGiveUp
		}
		if err := tx.AppendEvents(ctx, ch.events); err != nil {
			return err
		}
		return remember(ctx, s, tx, ch, op, value)
	})
	if err == nil || errors.Is(err, errGiveUp) {
		c.trail.leave(authority.State{Timeline: timeline, Workspace: c.workspace, Revision: result.Revision})
	}
	if errors.Is(err, errGiveUp) {
		return result, nil
	}
	if err != nil {
		return none, s.refused(ctx, c, op, s.tell(ctx, err))
	}
	if !op.quiet {
		s.changes.wake(c.workspace)
	}
	return result, nil
}

// revise gives the transaction its revision. One that changes nothing a gateway enforces takes none of its own.
func revise(ctx context.Context, tx *postgres.Tx, op operation, at time.Time) (uint64, error) {
	if op.quiet {
		w, err := tx.Workspace(ctx)
		return w.Revision, err
	}
	return tx.AdvanceRevision(ctx, at, op.fences)
}

// recheck judges the caller as of the transaction, in which nothing changes any more: a principal that was suspended, a
// member whose role was taken or a key that was revoked since it authenticated writes nothing.
func recheck(ctx context.Context, tx *postgres.Tx, c *Caller, at time.Time) error {
	if c.key != "" {
		proof, err := tx.LookUpKey(ctx, c.key)
		if err != nil {
			return err
		}
		if !stands(proof, c.address, at) {
			return errUnauthenticated
		}
		if c.workspace != c.home && proof.HolderSuspended {
			return authority.NotFound("workspace")
		}
	}
	if c.session != "" {
		lives, err := tx.HasSession(ctx, c.person, c.session, at)
		if err != nil {
			return err
		}
		if !lives {
			return errUnauthenticated
		}
	}
	if c.principal.ID == "" {
		return nil
	}
	principal, err := tx.Principal(ctx, c.principal.ID)
	if err != nil {
		return err
	}
	c.principal = principal
	c.principal.Role = principal.Role.Within(c.limit)
	if c.kind == authority.KeyMember && c.workspace != c.home && !c.isMember() {
		return authority.NotFound("workspace")
	}
	return c.active()
}

// changed is the event of an administrative change: what something was and what it is; nil for what was not there before
// or is not there any more.
func changed(t authority.EventType, before, after any) authority.Event {
	detail := map[string]any{}
	if before != nil {
		detail["before"] = before
	}
	if after != nil {
		detail["after"] = after
	}
	return authority.Event{Type: t, Detail: detail}
}

// recall finds what the same request answered before; nil when it is new.
func recall[T any](ctx context.Context, s *Service, tx *postgres.Tx, ch *change, op operation) (*Written[T], error) {
	once := ch.caller.once
	if once.key == "" {
		return nil, nil
	}
	answer, err := tx.Answered(ctx, ch.caller.name(), once.key, ch.at.Add(-answerLifetime))
	if errors.Is(err, postgres.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if answer.Operation != op.name || !bytes.Equal(answer.Digest, once.digest) {
		return nil, &authority.Error{
			Code: authority.CodeConflict, Field: "Idempotency-Key",
			Message: "this Idempotency-Key was used for another request; take a new one",
		}
	}
	text, err := s.vault.Open(ch.caller.answerID(), purposeAnswer, answer.Sealed)
	if err != nil {
		return nil, fmt.Errorf("open kept answer: %w", err)
	}
	replay := Written[T]{Revision: answer.Revision}
	if err := json.Unmarshal(text, &replay.Value); err != nil {
		return nil, fmt.Errorf("read kept answer: %w", err)
	}
	return &replay, nil
}

func remember(ctx context.Context, s *Service, tx *postgres.Tx, ch *change, op operation, value any) error {
	once := ch.caller.once
	if once.key == "" {
		return nil
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("keep answer: %w", err)
	}
	return tx.RememberAnswer(ctx, ch.caller.name(), once.key, postgres.Answer{
		Operation: op.name, Digest: once.digest, Revision: ch.revision,
		Sealed: s.vault.Seal(ch.caller.answerID(), purposeAnswer, text),
	}, ch.at, ch.at.Add(-answerLifetime))
}

// answerID binds a kept answer to who may be told it.
func (c Caller) answerID() string {
	return string(c.workspace) + "\x00" + c.name() + "\x00" + c.once.key
}

// read is the choke point of everything that only looks. All that it sees is of one revision.
func read[T any](ctx context.Context, s *Service, c Caller, op operation, look func(context.Context, *postgres.Tx) (T, error)) (T, error) {
	var value, none T
	if err := s.permit(ctx, c, op); err != nil {
		return none, err
	}
	enter := s.store.Read
	if op.whileRestored() {
		enter = s.store.ReadRestored
	}
	err := enter(ctx, c.workspace, func(ctx context.Context, tx *postgres.Tx) error {
		err := s.abreast(ctx, tx, c)
		if err != nil {
			return err
		}
		if value, err = look(ctx, tx); err == nil {
			c.trail.leave(tx.State())
		}
		return err
	})
	if err != nil {
		return none, s.refused(ctx, c, op, s.tell(ctx, err))
	}
	return value, nil
}

// permit is the first gate: what this kind of caller may do at all.
func (s *Service) permit(ctx context.Context, c Caller, op operation) error {
	if err := c.may(op); err != nil {
		return s.refused(ctx, c, op, err)
	}
	return nil
}

// refused records a refusal in the ledger and returns it. What is merely malformed, absent or unavailable is none.
func (s *Service) refused(ctx context.Context, c Caller, op operation, err error) error {
	var told *authority.Error
	if !errors.As(err, &told) || c.workspace == "" || (told.Code != authority.CodeRefused && told.Code != authority.CodeForbidden) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refusalTimeout)
	defer cancel()
	recording := s.store.Write(ctx, c.workspace, func(ctx context.Context, tx *postgres.Tx) error {
		w, err := tx.Workspace(ctx)
		if err != nil {
			return err
		}
		return tx.AppendEvents(ctx, []authority.Event{c.event(authority.Event{
			Type: authority.EventRefused, PrincipalID: c.principal.ID, Reason: told.Reason, Message: told.Message,
			Detail: map[string]any{"operation": op.name},
		}, s.now(), w.Revision)})
	})
	if recording != nil {
		s.log.Error("refusal not recorded", "operation", op.name, "workspace", c.workspace, "cause", recording)
	}
	return err
}

// orNotFound names what is missing.
func orNotFound(what string, err error) error {
	if errors.Is(err, postgres.ErrNotFound) {
		return authority.NotFound(what)
	}
	return err
}
