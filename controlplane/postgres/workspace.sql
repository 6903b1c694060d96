-- name: Deployment :one
SELECT id, timeline FROM deployment;

-- name: InsertWorkspace :exec
INSERT INTO workspaces (id, slug, name, description, settings, revision, created_at, revised_at, event_sequence)
VALUES (@id, @slug, @name, @description, @settings, @revision, @created_at, @created_at, 0);

-- name: Workspace :one
SELECT id, slug, name, description, settings, revision, created_at FROM workspaces WHERE id = @workspace_id;

-- The row lock that this takes orders the writers of a workspace by their commits.
-- name: AdvanceRevision :one
UPDATE workspaces SET revision = revision + 1, revised_at = @at WHERE id = @workspace_id RETURNING revision;

-- name: RevisedAt :one
SELECT revised_at FROM workspaces WHERE id = @workspace_id;

-- name: TakeEventSequences :one
UPDATE workspaces SET event_sequence = event_sequence + @count WHERE id = @workspace_id
RETURNING event_sequence;

-- name: InsertSigningKey :exec
INSERT INTO signing_keys (workspace_id, id, purpose, sealed, not_before, retire_at)
VALUES (@workspace_id, @id, @purpose, @sealed, @not_before, @retire_at);

-- name: SigningKeys :many
SELECT id, purpose, sealed, not_before, retire_at FROM signing_keys
WHERE workspace_id = @workspace_id ORDER BY not_before DESC, id;

-- name: Idempotent :one
SELECT operation, digest, revision, sealed FROM idempotency
WHERE workspace_id = @workspace_id AND caller = @caller AND key = @key AND created_at > @oldest;

-- name: InsertIdempotent :exec
INSERT INTO idempotency (workspace_id, caller, key, operation, digest, revision, sealed, created_at)
VALUES (@workspace_id, @caller, @key, @operation, @digest, @revision, @sealed, @created_at);

-- name: DeleteIdempotentBefore :exec
DELETE FROM idempotency WHERE workspace_id = @workspace_id AND created_at <= @oldest;
