-- A database that was restored from a backup has lost what was taken away since the backup, while gateways still know it.

-- +goose Up

-- restored_at is when the database was found to be behind what gateways have seen. From then on nobody is served until an
-- operator accepts that, with a timeline that takes the place of the present one. past holds those before, the last first.
ALTER TABLE deployment
    ADD COLUMN restored_at timestamptz,
    ADD COLUMN past        text[] NOT NULL DEFAULT '{}';

-- What gateway processes say of a state that the database does not have: that they enforce it, and what of it takes
-- authority away that the database still grants. Those are ids of this database only. proven says that the workspace's
-- own keys have signed the state, so that nobody but a control plane can have made it.
--
-- The process may be one that the database has never heard of.
CREATE TABLE beyond_reports (
    workspace_id      text NOT NULL REFERENCES workspaces (id),
    gateway_id        text NOT NULL,
    timeline          text NOT NULL,
    revision          bigint NOT NULL CHECK (revision > 0),
    database_revision bigint NOT NULL,
    proven            boolean NOT NULL,
    issued_at         timestamptz,
    revoked_mandates  text[] NOT NULL,
    suspended         text[] NOT NULL,
    revoked_keys      text[] NOT NULL,
    whole             boolean NOT NULL,
    reported_at       timestamptz NOT NULL,
    accepted_at       timestamptz,
    PRIMARY KEY (workspace_id, gateway_id, timeline)
);
SELECT isolate_workspaces('beyond_reports', 'workspace_id');
GRANT SELECT, INSERT, UPDATE ON beyond_reports TO caracal_app;
CREATE POLICY look_up ON beyond_reports FOR SELECT TO CURRENT_USER
    USING (current_setting('caracal.look_up', true) = 'on');

-- Begins a transaction of a workspace: names it, and tells where it stands. What is committed is on disk, whatever the
-- server does unless it is told.
-- +goose StatementBegin
CREATE FUNCTION enter_workspace(workspace text)
    RETURNS TABLE (timeline text, restored boolean, revision bigint)
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('caracal.workspace', workspace, true);
    IF current_setting('synchronous_commit') IN ('off', 'local') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    RETURN QUERY SELECT d.timeline, d.restored_at IS NOT NULL,
        coalesce((SELECT w.revision FROM public.workspaces w WHERE w.id = workspace), 0)
    FROM public.deployment d;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION enter_workspace(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION enter_workspace(text) TO caracal_app;

-- Notes that the database is behind, which is not undone but by begin_timeline.
-- +goose StatementBegin
CREATE FUNCTION note_restore(moment timestamptz) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE public.deployment SET restored_at = moment WHERE restored_at IS NULL;
    RETURN FOUND;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION note_restore(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION note_restore(timestamptz) TO caracal_app;

-- Begins another timeline, in which the deployment is served again. It takes the place of the present one and of the others that
-- are given, the last first.
-- +goose StatementBegin
CREATE FUNCTION begin_timeline(ended text, successor text, before text[]) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE public.deployment
    SET past = before, timeline = successor, restored_at = NULL
    WHERE timeline = ended AND restored_at IS NOT NULL;
    RETURN FOUND;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION begin_timeline(text, text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION begin_timeline(text, text, text[]) TO caracal_app;

-- What is not accepted yet, of all workspaces: for the operator, and for who asks how the control plane is.
-- +goose StatementBegin
CREATE FUNCTION look_up_beyond()
    RETURNS TABLE (workspace_id text, gateway_id text, timeline text, revision bigint, database_revision bigint,
        proven boolean, revoked_mandates bigint, suspended bigint, revoked_keys bigint, whole boolean, reported_at timestamptz)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('caracal.look_up', 'on', true);
    RETURN QUERY SELECT r.workspace_id, r.gateway_id, r.timeline, r.revision, r.database_revision, r.proven,
        cardinality(r.revoked_mandates)::bigint, cardinality(r.suspended)::bigint, cardinality(r.revoked_keys)::bigint,
        r.whole, r.reported_at
    FROM public.beyond_reports r WHERE r.accepted_at IS NULL ORDER BY r.reported_at, r.gateway_id;
    PERFORM set_config('caracal.look_up', 'off', true);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_beyond() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_beyond() TO caracal_app;
