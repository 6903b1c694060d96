-- name: InsertGateway :exec
INSERT INTO gateways (id, workspace_id, key_id, public_key, instance, version, formats, revision, acknowledged_at,
    connected, enrolled_at, seen_at, left_at, envoy_refusal)
VALUES (@id, @workspace_id, @key_id, @public_key, @instance, @version, @formats, 0, NULL,
    false, @enrolled_at, @enrolled_at, NULL, '');

-- name: GatewayByPublicKey :one
SELECT id, workspace_id, key_id, public_key, instance, version, formats, revision, acknowledged_at, connected,
    enrolled_at, seen_at, left_at, envoy_refusal, lease_number, lease_term_ms, lease_wait_ms, lease_granted_at, lease_over, lease_over_at,
    endless, digest, address, envoy_revision, envoy_current, decisions_per_second, live_watches, queued_events,
    reported_at, superseded_at, revoked_at, revoked_revision, forgotten_at
FROM gateways WHERE workspace_id = @workspace_id AND key_id = @key_id AND public_key = @public_key;

-- name: Gateway :one
SELECT id, workspace_id, key_id, public_key, instance, version, formats, revision, acknowledged_at, connected,
    enrolled_at, seen_at, left_at, envoy_refusal, lease_number, lease_term_ms, lease_wait_ms, lease_granted_at, lease_over, lease_over_at,
    endless, digest, address, envoy_revision, envoy_current, decisions_per_second, live_watches, queued_events,
    reported_at, superseded_at, revoked_at, revoked_revision, forgotten_at
FROM gateways WHERE workspace_id = @workspace_id AND id = @id;

-- name: LockGateway :one
SELECT id, workspace_id, key_id, public_key, instance, version, formats, revision, acknowledged_at, connected,
    enrolled_at, seen_at, left_at, envoy_refusal, lease_number, lease_term_ms, lease_wait_ms, lease_granted_at, lease_over, lease_over_at,
    endless, digest, address, envoy_revision, envoy_current, decisions_per_second, live_watches, queued_events,
    reported_at, superseded_at, revoked_at, revoked_revision, forgotten_at
FROM gateways WHERE workspace_id = @workspace_id AND id = @id FOR NO KEY UPDATE;

-- Those that may decide are listed however long nothing was heard of them.
-- name: Gateways :many
SELECT id, workspace_id, key_id, public_key, instance, version, formats, revision, acknowledged_at, connected,
    enrolled_at, seen_at, left_at, envoy_refusal, lease_number, lease_term_ms, lease_wait_ms, lease_granted_at, lease_over, lease_over_at,
    endless, digest, address, envoy_revision, envoy_current, decisions_per_second, live_watches, queued_events,
    reported_at, superseded_at, revoked_at, revoked_revision, forgotten_at
FROM gateways
WHERE workspace_id = @workspace_id AND (seen_at > @seen_after::timestamptz
    OR (lease_number > 0 AND NOT lease_over) OR (endless AND left_at IS NULL AND forgotten_at IS NULL))
ORDER BY (lease_number > 0 AND NOT lease_over) OR (endless AND left_at IS NULL AND forgotten_at IS NULL) DESC,
    left_at DESC NULLS FIRST, enrolled_at DESC, id LIMIT @size;

-- name: Standings :many
SELECT id, key_id, instance, revision, lease_number, lease_term_ms, lease_wait_ms, lease_granted_at, lease_over, endless
FROM gateways
WHERE workspace_id = @workspace_id
    AND ((lease_number > 0 AND NOT lease_over) OR (endless AND left_at IS NULL AND forgotten_at IS NULL))
ORDER BY id;

-- A process that starts where another of the same key ran takes its place for those who look; so does one whose key the
-- other's was rotated into. The other may decide until its lease is over.
-- name: SupersedeGateways :exec
WITH RECURSIVE lineage AS (
    SELECT k.id, k.replaces FROM api_keys k WHERE k.workspace_id = @workspace_id AND k.id = @key_id
    UNION
    SELECT k.id, k.replaces FROM api_keys k JOIN lineage l ON k.id = l.replaces WHERE k.workspace_id = @workspace_id
)
UPDATE gateways g SET superseded_at = @at::timestamptz, connected = false
WHERE g.workspace_id = @workspace_id AND g.key_id IN (SELECT l.id FROM lineage l) AND instance = @instance AND g.id <> @id
    AND superseded_at IS NULL AND left_at IS NULL AND (NOT connected OR seen_at < @stale::timestamptz);

-- name: ConnectGateways :many
UPDATE gateways g SET connected = true, seen_at = @at, left_at = NULL, superseded_at = NULL, version = @version, formats = @formats,
    instance = coalesce(nullif(a.instance, ''), g.instance)
FROM (SELECT unnest(@ids::text[]) AS id, unnest(@keys::text[]) AS key_id, unnest(@instances::text[]) AS instance) a
WHERE g.workspace_id = @workspace_id AND g.key_id = a.key_id AND g.id = a.id AND g.revoked_at IS NULL AND g.forgotten_at IS NULL
RETURNING g.id;

-- name: DisconnectGateways :exec
UPDATE gateways SET connected = false, seen_at = @at WHERE workspace_id = @workspace_id AND id = ANY (@ids::text[]);

-- name: SeeGateways :exec
UPDATE gateways SET connected = true, seen_at = @at WHERE workspace_id = @workspace_id AND id = ANY (@ids::text[]);

-- A process that is not served lives all the same.
-- name: MeetGateway :exec
UPDATE gateways SET seen_at = @at, left_at = NULL WHERE workspace_id = @workspace_id AND id = @id;

-- Locks in the order of ids whatever is to be written to several processes, so that no two transactions wait for each other.
-- name: LockGateways :exec
SELECT id FROM gateways WHERE workspace_id = @workspace_id AND id = ANY (@ids::text[]) ORDER BY id COLLATE "C" FOR NO KEY UPDATE;

-- name: RevokeGatewaysOf :exec
UPDATE gateways SET revoked_at = @at::timestamptz, revoked_revision = @revision::bigint
WHERE workspace_id = @workspace_id AND key_id = @key_id AND revoked_at IS NULL;

-- A process that comes back may still have the lease that was over by its being forgotten.
-- name: ReviveGateway :exec
UPDATE gateways SET forgotten_at = NULL, left_at = NULL, version = @version, formats = @formats, seen_at = @at,
    lease_over = lease_over AND coalesce(lease_over_at < forgotten_at, false),
    lease_over_at = CASE WHEN lease_over_at < forgotten_at THEN lease_over_at END
WHERE workspace_id = @workspace_id AND id = @id;

-- name: EndedGateways :many
SELECT g.id, (g.forgotten_at IS NOT NULL)::boolean AS forgotten,
    (g.revoked_at IS NOT NULL AND k.revoked_at IS NULL)::boolean AS revoked
FROM gateways g JOIN api_keys k ON k.workspace_id = @workspace_id AND k.id = g.key_id
WHERE g.workspace_id = @workspace_id AND g.id = ANY (@ids::text[])
    AND (g.revoked_at IS NOT NULL OR g.forgotten_at IS NOT NULL OR k.revoked_at IS NOT NULL OR k.expires_at <= @at::timestamptz);

-- When the first ends of the keys that are still good of the given processes.
-- name: NextKeyEnd :one
SELECT k.expires_at
FROM gateways g JOIN api_keys k ON k.workspace_id = @workspace_id AND k.id = g.key_id
WHERE g.workspace_id = @workspace_id AND g.id = ANY (@ids::text[]) AND k.expires_at > @at::timestamptz
ORDER BY k.expires_at LIMIT 1;

-- A gateway acknowledges what there is: a revision beyond the workspace's own is not recorded. What each said is taken in
-- one statement for as many gateways as have said something.
-- name: AcknowledgeRevisions :many
UPDATE gateways g SET revision = a.revision, acknowledged_at = @at::timestamptz, seen_at = @at,
    digest = CASE WHEN length(a.digest) > 0 OR g.revision < a.revision THEN a.digest ELSE g.digest END
FROM (SELECT unnest(@ids::text[]) AS id, unnest(@keys::text[]) AS key_id, unnest(@revisions::bigint[]) AS revision,
    unnest(@digests::bytea[]) AS digest) a
JOIN workspaces w ON w.id = @workspace_id
WHERE g.workspace_id = @workspace_id AND g.key_id = a.key_id AND g.id = a.id
    AND g.revision <= a.revision AND a.revision <= w.revision
RETURNING g.id;

-- Grants wait for each other in the order of ids. A gateway is granted nothing once it, or its key, has been revoked.
-- name: LockForGrant :many
SELECT g.id, g.key_id, g.revision, g.lease_number, g.lease_term_ms, g.lease_wait_ms, g.lease_over, g.endless,
    (g.revoked_at IS NOT NULL OR k.revoked_at IS NOT NULL)::boolean AS revoked,
    (g.forgotten_at IS NOT NULL)::boolean AS forgotten, k.expires_at AS key_ends_at
FROM gateways g JOIN api_keys k ON k.workspace_id = g.workspace_id AND k.id = g.key_id
WHERE g.workspace_id = @workspace_id AND g.id = ANY (@ids::text[])
ORDER BY g.id COLLATE "C" FOR NO KEY UPDATE OF g;

-- name: GrantLeases :exec
UPDATE gateways g SET lease_number = a.lease_number, lease_term_ms = a.lease_term_ms, lease_wait_ms = a.lease_wait_ms,
    lease_granted_at = @at::timestamptz, lease_over = false, lease_over_at = NULL, seen_at = @at
FROM (SELECT unnest(@ids::text[]) AS id, unnest(@lease_numbers::bigint[]) AS lease_number,
    unnest(@lease_terms_ms::bigint[]) AS lease_term_ms, unnest(@lease_waits_ms::bigint[]) AS lease_wait_ms) a
WHERE g.workspace_id = @workspace_id AND g.id = a.id;

-- name: ReportGateways :exec
UPDATE gateways g SET address = a.address, envoy_current = a.envoy_current, decisions_per_second = a.decisions_per_second,
    live_watches = a.live_watches, queued_events = a.queued_events, reported_at = @at::timestamptz, seen_at = @at
FROM (SELECT unnest(@ids::text[]) AS id, unnest(@keys::text[]) AS key_id, unnest(@addresses::text[]) AS address,
    unnest(@envoy_current::boolean[]) AS envoy_current, unnest(@decisions_per_second::double precision[]) AS decisions_per_second,
    unnest(@live_watches::bigint[]) AS live_watches, unnest(@queued_events::bigint[]) AS queued_events) a
WHERE g.workspace_id = @workspace_id AND g.key_id = a.key_id AND g.id = a.id;

-- Only the very lease that was watched is over: a gateway that has renewed since has another number.
-- name: EndLease :execrows
UPDATE gateways SET lease_over = true, lease_over_at = @at::timestamptz
WHERE workspace_id = @workspace_id AND id = @id AND lease_number = @lease_number AND lease_number > 0 AND NOT lease_over;

-- name: LeaveGateway :exec
UPDATE gateways SET left_at = @at::timestamptz, seen_at = @at
WHERE workspace_id = @workspace_id AND key_id = @key_id AND id = @id;

-- name: RevokeGateway :exec
UPDATE gateways SET revoked_at = coalesce(revoked_at, @at::timestamptz), revoked_revision = @revision::bigint
WHERE workspace_id = @workspace_id AND id = @id;

-- name: ForgetGateway :exec
UPDATE gateways SET forgotten_at = @at::timestamptz, connected = false, lease_over = true,
    lease_over_at = coalesce(lease_over_at, @at)
WHERE workspace_id = @workspace_id AND id = @id AND forgotten_at IS NULL;

-- name: SetEnvoyStatus :exec
UPDATE gateways SET envoy_refusal = @envoy_refusal, envoy_revision = CASE WHEN @accepted::boolean THEN @envoy_revision ELSE envoy_revision END,
    seen_at = @at
WHERE workspace_id = @workspace_id AND key_id = @key_id AND id = @id;

-- The batches of one process take turns. What else is written of the process does not wait for them.
-- name: LockRecord :exec
SELECT pg_advisory_xact_lock(hashtextextended(@id::text, 1));

-- name: HasGateway :one
SELECT EXISTS (SELECT FROM gateways WHERE workspace_id = @workspace_id AND key_id = @key_id AND id = @id);
