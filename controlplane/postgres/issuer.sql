-- name: InsertIssuer :exec
INSERT INTO issuers (id, workspace_id, name, kind, issuer, jwks_url, jwks, ca, private_addresses, audiences, claim,
    algorithms, max_lifetime_seconds, bindings, created_at)
VALUES (@id, @workspace_id, @name, @kind, @issuer, @jwks_url, @jwks, @ca, @private_addresses, @audiences, @claim,
    @algorithms, @max_lifetime_seconds, @bindings, @created_at);

-- name: Issuer :one
SELECT id, workspace_id, name, kind, issuer, jwks_url, jwks, ca, private_addresses, audiences, claim, algorithms,
    max_lifetime_seconds, bindings, created_at
FROM issuers WHERE workspace_id = @workspace_id AND id = @id;

-- name: AllIssuers :many
SELECT id, workspace_id, name, kind, issuer, jwks_url, jwks, ca, private_addresses, audiences, claim, algorithms,
    max_lifetime_seconds, bindings, created_at
FROM issuers WHERE workspace_id = @workspace_id ORDER BY created_at, id;

-- name: UpdateIssuer :exec
UPDATE issuers SET name = @name, kind = @kind, issuer = @issuer, jwks_url = @jwks_url, jwks = @jwks, ca = @ca,
    private_addresses = @private_addresses, audiences = @audiences, claim = @claim, algorithms = @algorithms,
    max_lifetime_seconds = @max_lifetime_seconds, bindings = @bindings
WHERE workspace_id = @workspace_id AND id = @id;

-- name: DeleteIssuer :exec
DELETE FROM issuers WHERE workspace_id = @workspace_id AND id = @id;

-- name: DeleteIssuerKeys :exec
DELETE FROM issuer_keys WHERE workspace_id = @workspace_id AND issuer_id = @issuer_id;

-- name: AllIssuerKeys :many
SELECT issuer_id, keys, fetched_at, usable_until, attempted_at, next_attempt_at, failure
FROM issuer_keys WHERE workspace_id = @workspace_id;

-- name: PutIssuerKeys :exec
INSERT INTO issuer_keys (workspace_id, issuer_id, keys, fetched_at, usable_until, attempted_at, next_attempt_at, failure)
VALUES (@workspace_id, @issuer_id, @keys, @fetched_at, @usable_until, @attempted_at, @next_attempt_at, @failure)
ON CONFLICT (workspace_id, issuer_id) DO UPDATE SET keys = EXCLUDED.keys, fetched_at = EXCLUDED.fetched_at,
    usable_until = EXCLUDED.usable_until, attempted_at = EXCLUDED.attempted_at,
    next_attempt_at = EXCLUDED.next_attempt_at, failure = EXCLUDED.failure;

-- name: ClaimIssuer :execrows
UPDATE issuer_keys SET attempted_at = @at::timestamptz, next_attempt_at = @again::timestamptz
WHERE workspace_id = @workspace_id AND issuer_id = @issuer_id AND next_attempt_at <= @due::timestamptz
    AND (attempted_at IS NULL OR attempted_at <= @not_since::timestamptz);

-- name: NoteIssuerKeys :execrows
UPDATE issuer_keys SET fetched_at = coalesce(sqlc.narg(fetched_at)::timestamptz, fetched_at),
    usable_until = coalesce(sqlc.narg(usable_until)::timestamptz, usable_until),
    next_attempt_at = @next_attempt_at, failure = @failure
WHERE workspace_id = @workspace_id AND issuer_id = @issuer_id AND attempted_at = @attempted_at;

-- name: CountIssuers :one
SELECT count(*) FROM issuers WHERE workspace_id = @workspace_id;
