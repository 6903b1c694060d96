-- name: Horizon :one
SELECT pg_snapshot_xmin(pg_current_snapshot())::text;

-- name: FollowEvents :many
-- Every transaction below the horizon is over: what it recorded is visible, and nothing comes in before it any more.
SELECT e.record, e.recorded_in::text AS recorded_in, e.time, e.sequence, e.id
FROM events e
WHERE e.workspace_id = @workspace_id
    AND e.recorded_in IS NOT NULL
    AND (e.recorded_in, e.time, e.sequence, e.id)
        > ((@after_transaction::text)::xid8, @after_time::timestamptz, @after_sequence::bigint, @after_id::text)
    AND e.recorded_in < pg_snapshot_xmin(pg_current_snapshot())
    AND (@with_type::text = '' OR e.type = @with_type)
    AND (@with_principal::text = '' OR e.principal_id = @with_principal OR e.actor_id = @with_principal)
    AND (@with_actor::text = '' OR e.actor_id = @with_actor)
    AND (@own::text = '' OR e.principal_id = @own OR e.actor_id = @own)
    AND (@with_mandate::text = '' OR e.mandate_id = @with_mandate)
    AND (@with_decision::text = '' OR e.decision_id = @with_decision)
    AND (@with_resource::text = '' OR e.resource = @with_resource)
ORDER BY e.recorded_in, e.time, e.sequence, e.id LIMIT @size;
