-- name: Deployment :one
SELECT id, timeline, past FROM deployment;

-- name: InsertWorkspace :exec
INSERT INTO workspaces (id, slug, name, description, settings, revision, created_at, archived_at, deleted_at, erase_at,
    revised_at, event_sequence)
VALUES (@id, @slug, @name, @description, @settings, @revision, @created_at, @archived_at, @deleted_at, @erase_at,
    @created_at, 0);

-- name: Workspace :one
SELECT id, slug, name, description, settings, revision, created_at, archived_at, deleted_at, erase_at
FROM workspaces WHERE id = @workspace_id AND erased_at IS NULL;

-- name: UpdateWorkspace :exec
UPDATE workspaces SET name = @name, description = @description, settings = @settings, archived_at = @archived_at,
    deleted_at = @deleted_at, erase_at = @erase_at
WHERE id = @workspace_id AND erased_at IS NULL;

-- The row lock that this takes orders the writers of a workspace by their commits.
-- name: AdvanceRevision :one
UPDATE workspaces SET revision = revision + 1, revised_at = @at, fence = CASE WHEN @fences::boolean THEN revision + 1 ELSE fence END
WHERE id = @workspace_id RETURNING revision;

-- Excludes whoever advances the revision until the transaction ends. Those who hold it take turns too: if they shared the
-- lock, they could keep a revocation waiting for ever.
-- name: HoldRevision :one
SELECT revision, fence, settings FROM workspaces WHERE id = @workspace_id AND erased_at IS NULL FOR NO KEY UPDATE;

-- name: RevisedAt :one
SELECT revised_at FROM workspaces WHERE id = @workspace_id;

-- name: TakeEventSequences :one
UPDATE workspaces SET event_sequence = event_sequence + @count WHERE id = @workspace_id
RETURNING event_sequence;

-- name: Idempotent :one
SELECT operation, digest, revision, sealed FROM idempotency
WHERE workspace_id = @workspace_id AND caller = @caller AND key = @key AND created_at > @oldest;

-- name: InsertIdempotent :exec
INSERT INTO idempotency (workspace_id, caller, key, operation, digest, revision, sealed, created_at)
VALUES (@workspace_id, @caller, @key, @operation, @digest, @revision, @sealed, @created_at);

-- name: DeleteIdempotentBefore :exec
DELETE FROM idempotency WHERE workspace_id = @workspace_id AND created_at <= @oldest;
