-- The ledger. The application adds to it and reads it; it can change or remove nothing. Only expire_events removes, by
-- each workspace's own retention.

-- +goose Up

-- record is the event as it was written, byte for byte; the other columns are what it is searched by. sequence is 0
-- for the decisions of gateways. Searched names are the strings of the record, without foreign keys: an event outlives
-- what it tells of.
CREATE TABLE events (
    workspace_id text NOT NULL REFERENCES workspaces (id),
    id           text NOT NULL,
    time         timestamptz NOT NULL,
    sequence     bigint NOT NULL,
    type         text NOT NULL,
    actor_id     text NOT NULL,
    principal_id text NOT NULL,
    mandate_id   text NOT NULL,
    decision_id  text NOT NULL,
    resource     text NOT NULL,
    record       json NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, time, sequence, id)
) PARTITION BY RANGE (time);
CREATE INDEX events_by_id ON events (workspace_id, id);
CREATE INDEX events_by_decision ON events (workspace_id, decision_id) WHERE decision_id <> '';
CREATE INDEX events_by_principal ON events (workspace_id, principal_id, time DESC);
CREATE INDEX events_by_mandate ON events (workspace_id, mandate_id, time DESC) WHERE mandate_id <> '';
SELECT isolate_workspaces('events', 'workspace_id');
GRANT SELECT, INSERT ON events TO caracal_app;

-- What Envoy did after a decision; it is known later than the decision.
CREATE TABLE event_outcomes (
    workspace_id text NOT NULL REFERENCES workspaces (id),
    decision_id  text NOT NULL,
    outcome      json NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, decision_id)
);
CREATE INDEX event_outcomes_by_age ON event_outcomes (workspace_id, recorded_at);
SELECT isolate_workspaces('event_outcomes', 'workspace_id');
GRANT SELECT, INSERT ON event_outcomes TO caracal_app;

-- The runs of consecutive events that each gateway process has delivered: what is stored is not stored again, and a
-- gap shows.
CREATE TABLE event_batches (
    workspace_id text NOT NULL REFERENCES workspaces (id),
    gateway_id   text NOT NULL,
    epoch        bigint NOT NULL,
    first        bigint NOT NULL,
    last         bigint NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, gateway_id, epoch, first),
    FOREIGN KEY (workspace_id, gateway_id) REFERENCES gateways (workspace_id, id),
    CHECK (first BETWEEN 1 AND last)
);
SELECT isolate_workspaces('event_batches', 'workspace_id');
GRANT SELECT, INSERT ON event_batches TO caracal_app;

-- Makes the partition of a month unless it is there. A partition is isolated like its parent, for whoever would reach
-- it directly. The window bounds what a caller can make.
-- +goose StatementBegin
CREATE FUNCTION ensure_event_partition(moment timestamptz) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    first_day timestamptz := date_trunc('month', moment);
    partition text := 'events_' || to_char(first_day, 'YYYY_MM');
BEGIN
    IF to_regclass('public.' || partition) IS NOT NULL THEN
        RETURN;
    END IF;
    IF moment NOT BETWEEN now() - interval '2 years' AND now() + interval '3 months' THEN
        RAISE EXCEPTION 'no events of %', moment USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('caracal.event_partitions'));
    IF to_regclass('public.' || partition) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE public.%I PARTITION OF public.events FOR VALUES FROM (%L) TO (%L)',
        partition, first_day, first_day + interval '1 month');
    PERFORM public.isolate_workspaces(('public.' || partition)::regclass, 'workspace_id');
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION ensure_event_partition(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_event_partition(timestamptz) TO caracal_app;

-- Removes what is older than its workspace's retention: whole partitions once no workspace keeps them, else rows.
CREATE POLICY expire ON events FOR ALL TO CURRENT_USER USING (current_setting('caracal.expire', true) = 'on');
CREATE POLICY expire ON event_outcomes FOR ALL TO CURRENT_USER USING (current_setting('caracal.expire', true) = 'on');
-- +goose StatementBegin
CREATE FUNCTION expire_events() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    kept      timestamptz;
    partition record;
    removed   bigint;
BEGIN
    PERFORM set_config('caracal.look_up', 'on', true), set_config('caracal.expire', 'on', true);
    SELECT min(now() - make_interval(days => (w.settings ->> 'event_retention_days')::int)) INTO kept
    FROM public.workspaces w;
    FOR partition IN
        SELECT c.oid::regclass AS name, to_timestamp(right(c.relname, 7), 'YYYY_MM') + interval '1 month' AS ends
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'public.events'::regclass
    LOOP
        IF partition.ends < kept THEN
            EXECUTE format('DROP TABLE %s', partition.name);
        END IF;
    END LOOP;
    DELETE FROM public.event_outcomes o USING public.workspaces w
    WHERE o.workspace_id = w.id
        AND o.recorded_at < now() - make_interval(days => (w.settings ->> 'event_retention_days')::int);
    DELETE FROM public.events e USING public.workspaces w
    WHERE e.workspace_id = w.id
        AND e.time < now() - make_interval(days => (w.settings ->> 'event_retention_days')::int);
    GET DIAGNOSTICS removed = ROW_COUNT;
    PERFORM set_config('caracal.look_up', 'off', true), set_config('caracal.expire', 'off', true);
    RETURN removed;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION expire_events() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION expire_events() TO caracal_app;

SELECT ensure_event_partition(now());
SELECT ensure_event_partition(now() + interval '1 month');
