-- name: InsertMandate :exec
INSERT INTO mandates (id, workspace_id, issuer_id, subject_id, resource_scope, action_scope, valid_from, valid_until,
    parent_id, delegation_depth, level, requested_by, consent, policy_id, policy_version, revoked, revoked_at,
    revoked_by, created_at, signature, confirmation)
VALUES (@id, @workspace_id, @issuer_id, @subject_id, @resource_scope, @action_scope, @valid_from, @valid_until,
    @parent_id, @delegation_depth, @level, @requested_by, @consent, @policy_id, @policy_version, @revoked, @revoked_at,
    @revoked_by, @created_at, @signature, @confirmation);

-- name: Mandate :one
SELECT id, workspace_id, issuer_id, subject_id, resource_scope, action_scope, valid_from, valid_until, parent_id,
    delegation_depth, level, requested_by, consent, policy_id, policy_version, revoked, revoked_at, revoked_by,
    created_at, signature, confirmation
FROM mandates WHERE workspace_id = @workspace_id AND id = @id;

-- The mandate first and its root last.
-- name: Chain :many
WITH RECURSIVE chain (id, parent_id, distance) AS (
    SELECT m.id, m.parent_id, 0 FROM mandates m WHERE m.workspace_id = @workspace_id AND m.id = @id
    UNION ALL
    SELECT m.id, m.parent_id, chain.distance + 1 FROM mandates m
    JOIN chain ON m.id = chain.parent_id
    WHERE m.workspace_id = @workspace_id AND chain.distance < 32
)
SELECT m.id, m.workspace_id, m.issuer_id, m.subject_id, m.resource_scope, m.action_scope, m.valid_from, m.valid_until,
    m.parent_id, m.delegation_depth, m.level, m.requested_by, m.consent, m.policy_id, m.policy_version, m.revoked,
    m.revoked_at, m.revoked_by, m.created_at, m.signature, m.confirmation
FROM chain JOIN mandates m ON m.workspace_id = @workspace_id AND m.id = chain.id
ORDER BY chain.distance;

-- Holds a whole chain against revocation until the transaction ends. Roots are locked first, as a revocation locks
-- them, so that neither waits for the other in a circle.
-- name: HoldMandates :many
SELECT id FROM mandates WHERE workspace_id = @workspace_id AND id = ANY (@ids::text[]) ORDER BY level FOR SHARE;

-- name: LockMandate :one
SELECT revoked_revision FROM mandates WHERE workspace_id = @workspace_id AND id = @id FOR UPDATE;

-- name: CountChildren :one
SELECT count(*) FROM mandates WHERE workspace_id = @workspace_id AND parent_id = @parent_id::text;

-- The mandate and every descendant that still lives end in one statement.
-- name: RevokeTree :many
WITH RECURSIVE tree (id) AS (
    SELECT m.id FROM mandates m WHERE m.workspace_id = @workspace_id AND m.id = @id
    UNION
    SELECT m.id FROM mandates m JOIN tree ON m.parent_id = tree.id WHERE m.workspace_id = @workspace_id
)
UPDATE mandates m
SET revoked = true, revoked_at = @revoked_at::timestamptz, revoked_by = @revoked_by, revoked_revision = @revoked_revision
FROM tree
WHERE m.workspace_id = @workspace_id AND m.id = tree.id AND NOT m.revoked
RETURNING m.id, m.subject_id, m.level;

-- Those that hold, will hold, or ended after the given time.
-- name: MandatesEndingAfter :many
SELECT id, workspace_id, issuer_id, subject_id, resource_scope, action_scope, valid_from, valid_until, parent_id,
    delegation_depth, level, requested_by, consent, policy_id, policy_version, revoked, revoked_at, revoked_by,
    created_at, signature, confirmation
FROM mandates
WHERE workspace_id = @workspace_id AND valid_until > @ending AND (revoked_at IS NULL OR revoked_at > @ending)
ORDER BY level, created_at, id;

-- What the signatures of the mandates in a bundle weigh: all of them, and those that one principal asked for.
-- name: MandateWeight :one
SELECT coalesce(sum(octet_length(signature)), 0)::bigint AS everybodys,
    coalesce(sum(octet_length(signature)) FILTER (WHERE requested_by = @requested_by), 0)::bigint AS own
FROM mandates
WHERE workspace_id = @workspace_id AND valid_until > @ending AND (revoked_at IS NULL OR revoked_at > @ending);
