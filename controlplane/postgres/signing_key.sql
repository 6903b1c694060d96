-- name: InsertSigningKey :exec
INSERT INTO signing_keys (workspace_id, id, purpose, sealed, not_before, retire_at, created_at)
VALUES (@workspace_id, @id, @purpose, @sealed, @not_before, @retire_at, @created_at);

-- name: SigningKeys :many
SELECT id, purpose, sealed, not_before, retire_at, created_at, withdrawn_at, revoked_at FROM signing_keys
WHERE workspace_id = @workspace_id ORDER BY not_before DESC, created_at DESC, id;

-- A key only ever ends earlier than was said before.
-- name: RetireSigningKey :exec
UPDATE signing_keys SET retire_at = @retire_at
WHERE workspace_id = @workspace_id AND id = @id AND retire_at > @retire_at;

-- name: WithdrawSigningKey :exec
UPDATE signing_keys SET withdrawn_at = @withdrawn_at::timestamptz, revoked_at = sqlc.narg(revoked_at)
WHERE workspace_id = @workspace_id AND id = @id AND withdrawn_at IS NULL;

-- When the last mandate that was made before a time ends; the time itself when none is left.
-- name: LastMandateBefore :one
SELECT coalesce(max(valid_until), @before)::timestamptz FROM mandates
WHERE workspace_id = @workspace_id AND created_at < @before AND NOT revoked;
