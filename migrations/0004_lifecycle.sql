-- The life of a workspace: archived, deleted, erased. And what lists are sorted by.

-- +goose Up

-- A deleted workspace can be restored until erase_at. Once erased only its events are left of it, and this row, which
-- they refer to; both end with the events' retention.
ALTER TABLE workspaces
    ADD COLUMN archived_at timestamptz,
    ADD COLUMN deleted_at timestamptz,
    ADD COLUMN erase_at timestamptz,
    ADD COLUMN erased_at timestamptz,
    ADD CONSTRAINT workspaces_deletion CHECK ((deleted_at IS NULL) = (erase_at IS NULL)),
    ADD CONSTRAINT workspaces_erasure CHECK (erased_at IS NULL OR deleted_at IS NOT NULL);
CREATE INDEX workspaces_by_erasure ON workspaces (erase_at) WHERE deleted_at IS NOT NULL;

-- Versions of a Rego policy beyond those that are kept are removed, the oldest first.
GRANT DELETE ON rego_versions TO caracal_app;

-- Names are sorted by their bytes, whatever the collation of the database.
CREATE INDEX principals_by_name ON principals (workspace_id, name COLLATE "C", id);
CREATE INDEX destinations_by_name ON destinations (workspace_id, name COLLATE "C", id);
CREATE INDEX api_keys_by_name ON api_keys (workspace_id, name COLLATE "C", id);
CREATE INDEX mandates_by_end_and_id ON mandates (workspace_id, valid_until, id);
DROP INDEX mandates_by_end;
CREATE INDEX idempotency_by_time ON idempotency (created_at);

-- Every table of a workspace has a second policy, for its owner: the rows are open to it only while the workspace is
-- being erased or its kept answers are forgotten.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION isolate_workspaces(relation regclass, workspace_column text) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', relation);
    EXECUTE format('CREATE POLICY workspace ON %s TO caracal_app USING (%I = (SELECT public.current_workspace())) '
        'WITH CHECK (%I = (SELECT public.current_workspace()))', relation, workspace_column, workspace_column);
    EXECUTE format('CREATE POLICY erase ON %s FOR ALL TO CURRENT_USER '
        'USING (current_setting(''caracal.erase'', true) = ''on'')', relation);
END
$$;
-- +goose StatementEnd
-- +goose StatementBegin
DO $$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN
        SELECT p.polrelid FROM pg_policy p WHERE p.polname = 'workspace'
            AND NOT EXISTS (SELECT FROM pg_policy q WHERE q.polrelid = p.polrelid AND q.polname = 'erase')
    LOOP
        EXECUTE format('CREATE POLICY erase ON %s FOR ALL TO CURRENT_USER '
            'USING (current_setting(''caracal.erase'', true) = ''on'')', relation);
    END LOOP;
END
$$;
-- +goose StatementEnd

-- Erases one workspace whose time of grace is over and answers its id; NULL when there is none. Everything of it goes
-- but its events, table by table, those that refer to others first, whatever tables there are. Its slug is free then.
-- A workspace that is erased already goes itself once its last event has.
-- +goose StatementBegin
CREATE FUNCTION erase_workspace() RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    erased    text;
    remaining oid[];
    next      oid;
BEGIN
    PERFORM set_config('caracal.erase', 'on', true);
    DELETE FROM public.workspaces w WHERE w.erased_at IS NOT NULL
        AND NOT EXISTS (SELECT FROM public.events e WHERE e.workspace_id = w.id)
        AND NOT EXISTS (SELECT FROM public.event_outcomes o WHERE o.workspace_id = w.id);
    SELECT w.id INTO erased FROM public.workspaces w
    WHERE w.deleted_at IS NOT NULL AND w.erased_at IS NULL AND w.erase_at <= now()
    ORDER BY w.erase_at LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF erased IS NOT NULL THEN
        remaining := ARRAY(
            SELECT c.oid FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT c.relispartition
                AND a.attname = 'workspace_id' AND NOT a.attisdropped AND c.oid <> 'public.event_outcomes'::regclass);
        WHILE cardinality(remaining) > 0 LOOP
            SELECT r INTO next FROM unnest(remaining) r
            WHERE NOT EXISTS (SELECT FROM pg_constraint f WHERE f.contype = 'f' AND f.confrelid = r
                AND f.conrelid <> r AND f.conrelid = ANY (remaining))
            LIMIT 1;
            IF next IS NULL THEN
                RAISE EXCEPTION 'tables refer to each other in a circle: %', remaining::regclass[];
            END IF;
            EXECUTE format('DELETE FROM %s WHERE workspace_id = $1', next::regclass) USING erased;
            remaining := array_remove(remaining, next);
        END LOOP;
        UPDATE public.workspaces w SET slug = 'erased:' || w.id, name = '', description = '', erased_at = now()
        WHERE w.id = erased;
    END IF;
    PERFORM set_config('caracal.erase', 'off', true);
    RETURN erased;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION erase_workspace() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erase_workspace() TO caracal_app;

-- Removes the answers that are kept for repeated writes, once no repetition is answered from them.
-- +goose StatementBegin
CREATE FUNCTION forget_answers() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    removed bigint;
BEGIN
    PERFORM set_config('caracal.erase', 'on', true);
    DELETE FROM public.idempotency WHERE created_at < now() - interval '25 hours';
    GET DIAGNOSTICS removed = ROW_COUNT;
    PERFORM set_config('caracal.erase', 'off', true);
    RETURN removed;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION forget_answers() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION forget_answers() TO caracal_app;

-- As before, with how each workspace stands; those that are erased are none any more.
DROP FUNCTION look_up_workspaces();
-- +goose StatementBegin
CREATE FUNCTION look_up_workspaces()
    RETURNS TABLE (id text, slug text, name text, description text, settings jsonb, revision bigint, created_at timestamptz,
        archived_at timestamptz, deleted_at timestamptz, erase_at timestamptz)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('caracal.look_up', 'on', true);
    RETURN QUERY SELECT w.id, w.slug, w.name, w.description, w.settings, w.revision, w.created_at,
        w.archived_at, w.deleted_at, w.erase_at
    FROM public.workspaces w WHERE w.erased_at IS NULL ORDER BY w.created_at, w.id;
    PERFORM set_config('caracal.look_up', 'off', true);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_workspaces() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_workspaces() TO caracal_app;
