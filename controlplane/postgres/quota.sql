-- name: CountPrincipals :one
SELECT count(*) FROM principals WHERE workspace_id = @workspace_id;

-- name: CountMembers :one
SELECT count(*) FROM principals WHERE workspace_id = @workspace_id AND role <> '';

-- name: CountLiveKeys :one
SELECT count(*) FROM api_keys
WHERE workspace_id = @workspace_id AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > @at::timestamptz);

-- name: CountLiveMandates :one
SELECT count(*) FROM mandates WHERE workspace_id = @workspace_id AND valid_until > @at::timestamptz AND NOT revoked;

-- name: CountDestinations :one
SELECT count(*) FROM destinations WHERE workspace_id = @workspace_id;

-- name: CountRegoVersions :one
SELECT count(*) FROM rego_versions WHERE workspace_id = @workspace_id;
