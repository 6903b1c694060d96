-- name: InsertPolicy :exec
INSERT INTO policies (id, workspace_id, principal_id, allowed_resources, allowed_actions, max_validity_seconds,
    delegation_depth, version, active, created_at)
VALUES (@id, @workspace_id, @principal_id, @allowed_resources, @allowed_actions, @max_validity_seconds,
    @delegation_depth, @version, @active, @created_at);

-- name: Policy :one
SELECT id, workspace_id, principal_id, allowed_resources, allowed_actions, max_validity_seconds, delegation_depth,
    version, active, created_at
FROM policies WHERE workspace_id = @workspace_id AND id = @id;

-- name: ActivePoliciesOf :many
SELECT id, workspace_id, principal_id, allowed_resources, allowed_actions, max_validity_seconds, delegation_depth,
    version, active, created_at
FROM policies WHERE workspace_id = @workspace_id AND principal_id = @principal_id AND active
ORDER BY created_at, id;

-- name: UpdatePolicy :exec
UPDATE policies SET allowed_resources = @allowed_resources, allowed_actions = @allowed_actions,
    max_validity_seconds = @max_validity_seconds, delegation_depth = @delegation_depth, version = @version,
    active = @active
WHERE workspace_id = @workspace_id AND id = @id;

-- name: CountActivePolicies :one
SELECT count(*) FROM policies WHERE workspace_id = @workspace_id AND active;

-- name: InsertGrantor :execrows
INSERT INTO policy_grantors (workspace_id, policy_id, principal_id, joined_at)
VALUES (@workspace_id, @policy_id, @principal_id, @joined_at)
ON CONFLICT DO NOTHING;

-- name: GrantorsAmong :many
SELECT policy_id, principal_id FROM policy_grantors
WHERE workspace_id = @workspace_id AND policy_id = ANY (@policy_ids::text[])
ORDER BY joined_at, principal_id;
