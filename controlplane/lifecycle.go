package controlplane

import (
	"context"
	"fmt"
	"time"

	"github.com/caracal-gateway/caracal/authority"
	"github.com/caracal-gateway/caracal/controlplane/postgres"
)

// DefaultGrace is for how long a deleted workspace can be restored where Config does not say.
const DefaultGrace = 30 * 24 * time.Hour

// WorkspaceChange replaces the fields that are not nil.
type WorkspaceChange struct {
	Name        *string         `json:"name"`
	Description *string         `json:"description"`
	Settings    *SettingsChange `json:"settings"`
}

// SettingsChange replaces the settings that are not nil.
type SettingsChange struct {
	MaxStreamSeconds   *int64 `json:"max_stream_seconds"`
	EventRetentionDays *int   `json:"event_retention_days"`
	// LeaseSeconds holds from the next grant to each gateway on; a lease that runs keeps its term.
	LeaseSeconds        *int64 `json:"lease_seconds"`
	ShortRequestSeconds *int64 `json:"short_request_seconds"`
}

// UpdateWorkspace changes the name, the description and the settings of a workspace. Its slug never changes.
func (s *Service) UpdateWorkspace(ctx context.Context, c Caller, slug string, change WorkspaceChange) (Written[authority.Workspace], error) {
	return s.editWorkspace(ctx, c, slug, allowed("update_workspace"), authority.EventWorkspaceUpdated, func(w *authority.Workspace, _ time.Time) error {
		replace(&w.Name, change.Name)
		replace(&w.Description, change.Description)
		if change.Settings != nil {
			if term := change.Settings.LeaseSeconds; term != nil && *term == 0 {
				return authority.Invalid("settings.lease_seconds", "is 5 to 86400")
			}
			replace(&w.Settings.MaxStreamSeconds, change.Settings.MaxStreamSeconds)
			replace(&w.Settings.EventRetentionDays, change.Settings.EventRetentionDays)
			replace(&w.Settings.LeaseSeconds, change.Settings.LeaseSeconds)
			replace(&w.Settings.ShortRequestSeconds, change.Settings.ShortRequestSeconds)
		}
		return w.Validate()
	})
}

func replace[T any](field, with *T) {
	if with != nil {
		*field = *with
	}
}

// ArchiveWorkspace makes a workspace read-only. Mandates that hold run out by themselves, and what takes authority away
// stays open.
func (s *Service) ArchiveWorkspace(ctx context.Context, c Caller, slug string) (Written[authority.Workspace], error) {
	return s.editWorkspace(ctx, c, slug, allowed("archive_workspace"), authority.EventWorkspaceArchived, func(w *authority.Workspace, at time.Time) error {
		if w.ArchivedAt == nil {
			w.ArchivedAt = &at
		}
		return nil
	})
}

// UnarchiveWorkspace opens an archived workspace again.
func (s *Service) UnarchiveWorkspace(ctx context.Context, c Caller, slug string) (Written[authority.Workspace], error) {
	return s.editWorkspace(ctx, c, slug, allowed("unarchive_workspace"), authority.EventWorkspaceUnarchived, func(w *authority.Workspace, _ time.Time) error {
		w.ArchivedAt = nil
		return nil
	})
}

// Deletion tells what the deletion of a workspace did; asking again answers the present state of the same deletion.
type Deletion struct {
	Workspace authority.Workspace    `json:"workspace"`
	State     authority.ReceiptState `json:"state"`
	Revision  uint64                 `json:"revision"`
	// EffectiveAt is since when it is in force at every gateway; nil while pending.
	EffectiveAt *time.Time       `json:"effective_at"`
	Gateways    []GatewayReceipt `json:"gateways"`
	Receipt     Receipt          `json:"receipt"`
}

// DeleteWorkspace makes everything that rests on a workspace denied, and waits up to the given time for the gateways to
// enforce it. Until its time of grace is over the workspace can be restored; then all of it is erased but its events,
// which stay for their retention. The deletion is committed whatever its state.
func (s *Service) DeleteWorkspace(ctx context.Context, c Caller, slug string, wait time.Duration) (Written[Deletion], error) {
	if err := bearable(wait); err != nil {
		return Written[Deletion]{}, err
	}
	if c.workspace != "" && slug != c.slug {
		return Written[Deletion]{}, authority.NotFound("workspace")
	}
	remove := func() (Written[Deletion], error) {
		return write(ctx, s, c, allowed("delete_workspace"), s.deleteWorkspace)
	}
	written, err := remove()
	if err == nil && written.Value.Receipt.ID == "" { // an answer that was kept before there were receipts
		c.once = once{}
		written, err = remove()
	}
	if err != nil {
		return Written[Deletion]{}, err
	}
	r := s.awaitReceipt(ctx, c, written.Value.Receipt, wait)
	written.Value = Deletion{
		Workspace: written.Value.Workspace, State: r.State, Revision: r.Revision, EffectiveAt: r.EffectiveAt, Gateways: r.Gateways, Receipt: r,
	}
	return written, nil
}

func (s *Service) deleteWorkspace(ctx context.Context, tx *postgres.Tx, ch *change) (Deletion, error) {
	before, err := tx.Workspace(ctx)
	if err != nil {
		return Deletion{}, orNotFound("workspace", err)
	}
	if err := ch.expect(before); err != nil {
		return Deletion{}, err
	}
	after := before
	if before.DeletedAt != nil {
		revision, err := tx.DeletionRevision(ctx)
		if err != nil {
			return Deletion{}, err
		}
		if revision != nil {
			if found, err := ch.issuedBefore(ctx, tx, *revision); err != nil || found != nil {
				before.Revision = ch.revision - 1
				return Deletion{Workspace: before, Receipt: orNone(found)}, err
			}
		}
	} else {
		erase := ch.at.Add(s.grace)
		after.DeletedAt, after.EraseAt = &ch.at, &erase
	}
	r := ch.receipt(authority.ReceiptOfWorkspace, authority.ReceiptTarget{WorkspaceID: after.ID})
	e := changed(authority.EventWorkspaceDeleted, before, after)
	e.Detail["receipt_id"] = r.ID
	ch.tell(e)
	if err := tx.UpdateWorkspace(ctx, after); err != nil {
		return Deletion{}, err
	}
	receipt, err := s.issueReceipt(ctx, tx, ch, r, nil)
	return Deletion{Workspace: after, Receipt: receipt}, err
}

// RestoreWorkspace undoes a deletion, as long as the time of grace lasts. One that was still pending is withdrawn.
func (s *Service) RestoreWorkspace(ctx context.Context, c Caller, slug string) (Written[authority.Workspace], error) {
	return s.editWorkspace(ctx, c, slug, allowed("restore_workspace"), authority.EventWorkspaceRestored, func(w *authority.Workspace, at time.Time) error {
		if ended(w.EraseAt, at) {
			return authority.NotFound("workspace")
		}
		w.DeletedAt, w.EraseAt = nil, nil
		return nil
	})
}

func (s *Service) editWorkspace(ctx context.Context, c Caller, slug string, op operation, event authority.EventType, edit func(*authority.Workspace, time.Time) error) (Written[authority.Workspace], error) {
	if c.workspace != "" && slug != c.slug {
		return Written[authority.Workspace]{}, authority.NotFound("workspace")
	}
	return write(ctx, s, c, op, func(ctx context.Context, tx *postgres.Tx, ch *change) (authority.Workspace, error) {
		before, err := tx.Workspace(ctx)
		if err != nil {
			return before, orNotFound("workspace", err)
		}
		if err := ch.expect(before); err != nil {
			return before, err
		}
		after := before
		if err := edit(&after, ch.at); err != nil {
			return before, err
		}
		if equalJSON(before, after) {
			ch.unchanged = true
			before.Revision = ch.before(op)
			return before, nil
		}
		e := changed(event, before, after)
		if before.DeletedAt != nil && after.DeletedAt == nil {
			if err := ch.withdraw(ctx, tx, string(after.ID), &e); err != nil {
				return before, err
			}
		}
		ch.tell(e)
		return after, tx.UpdateWorkspace(ctx, after)
	})
}

// erase removes the deleted workspaces whose time of grace is over.
func (s *Service) erase(ctx context.Context) error {
	erased, err := s.store.EraseWorkspaces(ctx)
	for _, id := range erased {
		s.log.Info("workspace erased; its events stay for their retention", "workspace", id)
	}
	return err
}

// stands reports as an error why the caller's workspace, as it stands, is not open for a change.
func (op operation) stands(w authority.Workspace) error {
	switch w.State() {
	case authority.WorkspaceActive:
	case authority.WorkspaceDeleted:
		if op.afterDeletion() {
			return nil
		}
		return &authority.Error{
			Code: authority.CodeConflict, Reason: authority.ReasonWorkspaceDeleted,
			Message: fmt.Sprintf("the workspace is deleted; an owner may restore it until %s", w.EraseAt.Format(time.RFC3339)),
		}
	case authority.WorkspaceArchived:
		if op.takesAway() || op.afterDeletion() {
			return nil
		}
		return &authority.Error{
			Code: authority.CodeConflict, Reason: authority.ReasonWorkspaceArchived,
			Message: "the workspace is archived: unarchive it to change it",
		}
	}
	return nil
}

// afterDeletion reports whether a change is open in a deleted workspace: its deletion once more, its restoration, and
// what gateways need to learn that it is deleted and to tell what they denied.
func (op operation) afterDeletion() bool {
	switch op.name {
	case "delete_workspace", "restore_workspace", "validate_mandate", "enrol_gateway":
		return true
	}
	return false
}

// takesAway reports whether a change is open in an archived workspace: it gives nobody any authority.
func (op operation) takesAway() bool {
	switch op.name {
	case "archive_workspace", "unarchive_workspace", "revoke_mandate", "suspend_principal", "deactivate_policy",
		"revoke_mandates", "revoke_key", "revoke_signing_key", "remove_member", "delete_issuer", "delete_client_authority",
		"certify_gateway":
		return true
	}
	return false
}

// mayLook reports whether a caller is let into a workspace as it stands. Of a deleted one that is an owner and an auditor,
// to look and to restore, and the gateways, which have to know that they deny.
func (c Caller) mayLook(w authority.Workspace) bool {
	if w.State() != authority.WorkspaceDeleted || c.kind == authority.KeyGateway {
		return true
	}
	return c.right()&(owner|auditor) != 0
}
