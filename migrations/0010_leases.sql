-- Leases of gateways, and gateways as things that people look at, revoke and give up.

-- +goose Up

-- The fence is the revision of the workspace's last change that took authority away. A lease is granted under a lock of
-- this row that a change excludes, and only to a gateway that enforces the fence.
ALTER TABLE workspaces ADD COLUMN fence bigint NOT NULL DEFAULT 0;

-- lease_number counts the grants to a process. lease_over says that the last of them has been surrendered, has been
-- watched by a replica for as long as it can last, or was declared over by an operator. lease_term_ms is that of the last;
-- lease_wait_ms the longest of those that the process may decide by still, because a grant of a shorter term may never have
-- arrived. lease_granted_at is for people: nothing is concluded from it.
--
-- endless marks a process of a program that knows of no leases, which decides until it ends. Those write left_at when
-- they end on purpose; superseded_at is when another process started at the same place, which ends nothing.
ALTER TABLE gateways
    ADD COLUMN lease_number         bigint NOT NULL DEFAULT 0,
    ADD COLUMN lease_term_ms        bigint NOT NULL DEFAULT 0,
    ADD COLUMN lease_wait_ms        bigint NOT NULL DEFAULT 0,
    ADD COLUMN lease_granted_at     timestamptz,
    ADD COLUMN lease_over           boolean NOT NULL DEFAULT false,
    ADD COLUMN lease_over_at        timestamptz,
    ADD COLUMN endless              boolean NOT NULL GENERATED ALWAYS AS (NOT (2 = ANY (formats))) STORED,
    ADD COLUMN digest               bytea NOT NULL DEFAULT '',
    ADD COLUMN address              text NOT NULL DEFAULT '',
    ADD COLUMN envoy_revision       bigint NOT NULL DEFAULT 0,
    ADD COLUMN envoy_current        boolean NOT NULL DEFAULT false,
    ADD COLUMN decisions_per_second double precision NOT NULL DEFAULT 0,
    ADD COLUMN live_watches         bigint NOT NULL DEFAULT 0,
    ADD COLUMN queued_events        bigint NOT NULL DEFAULT 0,
    ADD COLUMN reported_at          timestamptz,
    ADD COLUMN superseded_at        timestamptz,
    ADD COLUMN revoked_at           timestamptz,
    ADD COLUMN revoked_revision     bigint,
    ADD COLUMN forgotten_at         timestamptz;
CREATE INDEX gateways_deciding ON gateways (workspace_id, id)
    WHERE (lease_number > 0 AND NOT lease_over) OR (endless AND left_at IS NULL AND forgotten_at IS NULL);
CREATE INDEX gateways_leased ON gateways (id) WHERE lease_number > 0 AND NOT lease_over;

-- A key of one process: it enrols one, and is good for that one's streams alone.
ALTER TABLE api_keys
    ADD COLUMN single_use boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT api_keys_single_use CHECK (NOT single_use OR kind = 'gateway');

-- What was there before: every gateway catches up before it gets its first lease, and a process that has been silent for
-- a day has left, as it was taken to have.
CREATE POLICY migrate ON workspaces FOR ALL TO CURRENT_USER USING (current_setting('caracal.migrate', true) = 'on');
CREATE POLICY migrate ON gateways FOR ALL TO CURRENT_USER USING (current_setting('caracal.migrate', true) = 'on');
SELECT set_config('caracal.migrate', 'on', true);
UPDATE workspaces SET fence = revision,
    settings = jsonb_build_object('lease_seconds', 60, 'short_request_seconds', 2) || settings;
UPDATE gateways SET left_at = seen_at WHERE left_at IS NULL AND seen_at < now() - interval '1 day';
SELECT set_config('caracal.migrate', 'off', true);
DROP POLICY migrate ON workspaces;
DROP POLICY migrate ON gateways;

-- Which leases run? Each replica watches all of them on its own clock.
-- +goose StatementBegin
CREATE FUNCTION look_up_leases()
    RETURNS TABLE (workspace_id text, id text, lease_number bigint, lease_wait_ms bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('caracal.look_up', 'on', true);
    RETURN QUERY SELECT g.workspace_id, g.id, g.lease_number, g.lease_wait_ms FROM public.gateways g
        WHERE g.lease_number > 0 AND NOT g.lease_over;
    PERFORM set_config('caracal.look_up', 'off', true);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_leases() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_leases() TO caracal_app;
