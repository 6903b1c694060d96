package authority

import (
	"cmp"
	"time"
)

// Workspace is the tenant: everything else belongs to exactly one.
type Workspace struct {
	ID          WorkspaceID `json:"workspace_id"`
	Slug        string      `json:"slug"`
	Name        string      `json:"name"`
	Description string      `json:"description"`
	Settings    Settings    `json:"settings"`
	// Revision is the commit-ordered number of the workspace's state; every change has one.
	Revision  uint64    `json:"revision"`
	CreatedAt time.Time `json:"created_at"`
	// ArchivedAt is when the workspace became read-only; nil while it is not.
	ArchivedAt *time.Time `json:"archived_at,omitempty"`
	// DeletedAt is when everything that rests on the workspace came to be denied. It can be restored until EraseAt.
	// Both are nil while it is not deleted.
	DeletedAt *time.Time `json:"deleted_at,omitempty"`
	EraseAt   *time.Time `json:"erase_at,omitempty"`
}

// WorkspaceState says what a workspace is open for.
type WorkspaceState string

// The states of workspaces.
const (
	WorkspaceActive WorkspaceState = "active"
	// WorkspaceArchived gives no new authority: nothing is issued, delegated or configured. Mandates run out by
	// themselves, and what takes authority away is open.
	WorkspaceArchived WorkspaceState = "archived"
	// WorkspaceDeleted denies everything. Its members may look at it, and an owner may restore it.
	WorkspaceDeleted WorkspaceState = "deleted"
)

// State is what the workspace is open for. A workspace that is archived and deleted is deleted.
func (w Workspace) State() WorkspaceState {
	switch {
	case w.DeletedAt != nil:
		return WorkspaceDeleted
	case w.ArchivedAt != nil:
		return WorkspaceArchived
	}
	return WorkspaceActive
}

// Settings are a workspace's own choices.
type Settings struct {
	// MaxStreamSeconds bounds every request that a gateway lets through, however long its mandate holds.
	MaxStreamSeconds int64 `json:"max_stream_seconds"`
	// EventRetentionDays is how long events are kept.
	EventRetentionDays int `json:"event_retention_days"`
	// LeaseSeconds is the term of its gateways' leases: for how long one may decide without hearing from the control
	// plane, and for how long a revocation may have to wait for one that cannot be reached. 0 means 60, as in workspaces
	// that never chose.
	LeaseSeconds int64 `json:"lease_seconds"`
	// ShortRequestSeconds is the longest maximum duration of a destination whose requests end by themselves soon enough
	// not to be watched. 0 watches every request.
	ShortRequestSeconds int64 `json:"short_request_seconds"`
}

const (
	maxDescription   = 1000
	maxRetentionDays = 3650
	minLeaseSeconds  = 5
	maxLeaseSeconds  = 24 * 60 * 60
	// DefaultLeaseSeconds is the term of leases in a workspace that never chose one.
	DefaultLeaseSeconds = 60
	maxShortSeconds     = 60
)

// DefaultSettings are those of a new workspace.
func DefaultSettings() Settings {
	return Settings{MaxStreamSeconds: 60 * 60, EventRetentionDays: 90, LeaseSeconds: DefaultLeaseSeconds, ShortRequestSeconds: 2}
}

// LeaseTerm is the term of the workspace's leases.
func (s Settings) LeaseTerm() time.Duration {
	return time.Duration(cmp.Or(s.LeaseSeconds, DefaultLeaseSeconds)) * time.Second
}

// Validate reports the first thing that is wrong with what a caller says about a workspace, as an invalid_request whose
// Field says where.
func (w Workspace) Validate() error {
	if _, err := ParseSlug(w.Slug); err != nil {
		return Within("slug", err)
	}
	if problem := nameProblem(w.Name, maxNameLength); problem != "" {
		return Invalid("name", "the name %s", problem)
	}
	if problem := textProblem(w.Description, maxDescription); problem != "" {
		return Invalid("description", "the description %s", problem)
	}
	return Within("settings", w.Settings.Validate())
}

// Validate reports a setting that is out of bounds: streams of 1 second to 24 hours, retention of 1 to 3650 days, leases of
// 5 seconds to 24 hours, short requests of up to a minute.
func (s Settings) Validate() error {
	if s.MaxStreamSeconds < 1 || s.MaxStreamSeconds > maxDurationSeconds {
		return Invalid("max_stream_seconds", "is 1 to %d", maxDurationSeconds)
	}
	if s.EventRetentionDays < 1 || s.EventRetentionDays > maxRetentionDays {
		return Invalid("event_retention_days", "is 1 to %d", maxRetentionDays)
	}
	if s.LeaseSeconds != 0 && (s.LeaseSeconds < minLeaseSeconds || s.LeaseSeconds > maxLeaseSeconds) {
		return Invalid("lease_seconds", "is %d to %d", minLeaseSeconds, maxLeaseSeconds)
	}
	if s.ShortRequestSeconds < 0 || s.ShortRequestSeconds > maxShortSeconds {
		return Invalid("short_request_seconds", "is 0 to %d", maxShortSeconds)
	}
	return nil
}

// RegoVersion is an immutable version of a workspace's Rego policy. At most one is active.
type RegoVersion struct {
	ID          RegoVersionID     `json:"rego_version_id"`
	WorkspaceID WorkspaceID       `json:"workspace_id"`
	Number      int64             `json:"number"`
	Modules     map[string]string `json:"modules"` // path → text, tests included
	Data        map[string]any    `json:"data"`
	Message     string            `json:"message"`
	Active      bool              `json:"active"`
	CreatedBy   PrincipalID       `json:"created_by"`
	CreatedAt   time.Time         `json:"created_at"`
}
