-- name: InsertEvents :batchexec
INSERT INTO events (workspace_id, id, time, sequence, type, actor_id, principal_id, mandate_id, decision_id, resource, record)
VALUES (@workspace_id, @id, @time, @sequence, @type, @actor_id, @principal_id, @mandate_id, @decision_id, @resource, @record);

-- name: Events :many
SELECT e.record, e.time, e.sequence, e.id, o.outcome
FROM events e
LEFT JOIN event_outcomes o ON e.decision_id <> '' AND o.workspace_id = @workspace_id AND o.decision_id = e.decision_id
WHERE e.workspace_id = @workspace_id
    AND (@with_id::text = '' OR e.id = @with_id)
    AND (@with_decision::text = '' OR e.decision_id = @with_decision)
    AND (@with_type::text = '' OR e.type = @with_type)
    AND (@with_principal::text = '' OR e.principal_id = @with_principal OR e.actor_id = @with_principal)
    AND (@with_actor::text = '' OR e.actor_id = @with_actor)
    AND (@own::text = '' OR e.principal_id = @own OR e.actor_id = @own)
    AND (@with_mandate::text = '' OR e.mandate_id = @with_mandate)
    AND (@with_resource::text = '' OR e.resource = @with_resource)
    AND e.time >= @from_time AND e.time < @until_time
    AND (@after_id::text = ''
        OR (e.time, e.sequence, e.id) < (@after_time::timestamptz, @after_sequence::bigint, @after_id))
ORDER BY e.time DESC, e.sequence DESC, e.id DESC LIMIT @size;

-- name: EventsFromOldest :many
SELECT e.record, e.time, e.sequence, e.id, o.outcome
FROM events e
LEFT JOIN event_outcomes o ON e.decision_id <> '' AND o.workspace_id = @workspace_id AND o.decision_id = e.decision_id
WHERE e.workspace_id = @workspace_id
    AND (@with_id::text = '' OR e.id = @with_id)
    AND (@with_decision::text = '' OR e.decision_id = @with_decision)
    AND (@with_type::text = '' OR e.type = @with_type)
    AND (@with_principal::text = '' OR e.principal_id = @with_principal OR e.actor_id = @with_principal)
    AND (@with_actor::text = '' OR e.actor_id = @with_actor)
    AND (@own::text = '' OR e.principal_id = @own OR e.actor_id = @own)
    AND (@with_mandate::text = '' OR e.mandate_id = @with_mandate)
    AND (@with_resource::text = '' OR e.resource = @with_resource)
    AND e.time >= @from_time AND e.time < @until_time
    AND (@after_id::text = ''
        OR (e.time, e.sequence, e.id) > (@after_time::timestamptz, @after_sequence::bigint, @after_id))
ORDER BY e.time, e.sequence, e.id LIMIT @size;

-- name: InsertOutcomes :batchexec
INSERT INTO event_outcomes (workspace_id, decision_id, outcome) VALUES (@workspace_id, @decision_id, @outcome)
ON CONFLICT DO NOTHING;

-- name: Batches :many
SELECT first, last FROM event_batches
WHERE workspace_id = @workspace_id AND gateway_id = @gateway_id AND epoch = @epoch ORDER BY first;

-- name: InsertBatch :exec
INSERT INTO event_batches (workspace_id, gateway_id, epoch, first, last)
VALUES (@workspace_id, @gateway_id, @epoch, @first, @last);
