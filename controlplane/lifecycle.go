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
}

// UpdateWorkspace changes the name, the description and the settings of a workspace. Its slug never changes.
func (s *Service) UpdateWorkspace(ctx context.Context, c Caller, slug string, change WorkspaceChange) (Written[authority.Workspace], error) {
	return s.editWorkspace(ctx, c, slug, allowed("update_workspace"), authority.EventWorkspaceUpdated, func(w *authority.Workspace, _ time.Time) error {
		replace(&w.Name, change.Name)
		replace(&w.Description, change.Description)
		if change.Settings != nil {
			replace(&w.Settings.MaxStreamSeconds, change.Settings.MaxStreamSeconds)
			replace(&w.Settings.EventRetentionDays, change.Settings.EventRetentionDays)
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

// Deletion tells what the deletion of a workspace did. It is enforced once every gateway of the workspace has
// acknowledged the revision; asking again answers the present state of the same deletion.
type Deletion struct {
	Workspace authority.Workspace `json:"workspace"`
	State     RevocationState     `json:"state"`
	Revision  uint64              `json:"revision"`
	// EffectiveAt is when the last gateway was known to enforce it; nil while pending.
	EffectiveAt *time.Time       `json:"effective_at"`
	Gateways    []GatewayReceipt `json:"gateways"`
}

// DeleteWorkspace makes everything that rests on a workspace denied, and waits up to the given time for the gateways to
// enforce it. Until its time of grace is over the workspace can be restored; then all of it is erased but its events,
// which stay for their retention. The deletion is committed whatever its state.
func (s *Service) DeleteWorkspace(ctx context.Context, c Caller, slug string, wait time.Duration) (Written[Deletion], error) {
	if wait < 0 || wait > MaxRevocationWait {
		return Written[Deletion]{}, authority.Invalid("wait", "is 0 to %d seconds", int(MaxRevocationWait/time.Second))
	}
	written, err := s.editWorkspace(ctx, c, slug, allowed("delete_workspace"), authority.EventWorkspaceDeleted, func(w *authority.Workspace, at time.Time) error {
		if w.DeletedAt == nil {
			erase := at.Add(s.grace)
			w.DeletedAt, w.EraseAt = &at, &erase
		}
		return nil
	})
	if err != nil {
		return Written[Deletion]{}, err
	}
	receipt, err := s.awaitEnforcement(ctx, c, Receipt{Revision: written.Revision, RevokedAt: *written.Value.DeletedAt}, wait)
	return Written[Deletion]{Revision: written.Revision, Value: Deletion{
		Workspace: written.Value, State: receipt.State, Revision: written.Revision,
		EffectiveAt: receipt.EffectiveAt, Gateways: receipt.Gateways,
	}}, err
}

// RestoreWorkspace undoes a deletion, as long as the time of grace lasts.
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
		ch.tell(changed(event, before, after))
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
		"revoke_key", "revoke_signing_key", "remove_member", "delete_issuer", "delete_client_authority":
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
