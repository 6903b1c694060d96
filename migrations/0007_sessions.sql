-- How people sign in: at the deployment's OpenID provider or by a one-time link, and the sessions that this opens.
--
-- What belongs to people belongs to no workspace. The application has no right to these tables: it calls functions of the
-- owner, which find one row by a secret's hash, or the rows of one person; nothing can be listed.

-- +goose Up

-- Who signs in with which identity. A person is known by (issuer, subject) and nothing else; the name and the address are
-- what the provider said last, for people to read.
CREATE TABLE logins (
    issuer         text NOT NULL,
    subject        text NOT NULL,
    person_id      text NOT NULL REFERENCES people (id),
    name           text NOT NULL,
    email          text NOT NULL,
    email_verified boolean NOT NULL,
    created_at     timestamptz NOT NULL,
    last_at        timestamptz NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX logins_of_person ON logins (person_id);

-- Only the hash of a session's secret is kept. A session that a key opened names the key, whose end is its own; there is
-- no foreign key, since keys go with their workspace.
CREATE TABLE sessions (
    id         text PRIMARY KEY,
    hash       bytea NOT NULL UNIQUE,
    kind       text NOT NULL CHECK (kind IN ('browser', 'cli')),
    person_id  text NOT NULL REFERENCES people (id),
    key_id     text NOT NULL,
    issuer     text NOT NULL,
    created_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    user_agent text NOT NULL,
    address    text NOT NULL
);
CREATE INDEX sessions_of_person ON sessions (person_id, created_at DESC);
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- Secrets that work once: links to sign in, invitations, codes for the command line, and the marks of sign-ins that have
-- been completed. about is what a newer ticket of the same purpose replaces.
CREATE TABLE tickets (
    hash       bytea PRIMARY KEY,
    purpose    text NOT NULL,
    about      text NOT NULL,
    content    jsonb NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX tickets_about ON tickets (purpose, about);
CREATE INDEX tickets_by_end ON tickets (expires_at);

-- Should a right be given by mistake, there is still no row for it.
ALTER TABLE logins ENABLE ROW LEVEL SECURITY;
ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE tickets ENABLE ROW LEVEL SECURITY;

-- Which groups of the provider give which role in a workspace.
CREATE TABLE group_roles (
    workspace_id text NOT NULL REFERENCES workspaces (id),
    group_name   text NOT NULL,
    role         text NOT NULL,
    PRIMARY KEY (workspace_id, group_name)
);
CREATE INDEX group_roles_by_group ON group_roles (group_name);
SELECT isolate_workspaces('group_roles', 'workspace_id');
GRANT SELECT, INSERT, DELETE ON group_roles TO caracal_app;

-- The role that groups gave a member last. A member whose role is another was changed by hand, and groups leave it alone.
CREATE TABLE group_members (
    workspace_id text NOT NULL REFERENCES workspaces (id),
    principal_id text NOT NULL,
    role         text NOT NULL,
    PRIMARY KEY (workspace_id, principal_id),
    FOREIGN KEY (workspace_id, principal_id) REFERENCES principals (workspace_id, id)
);
SELECT isolate_workspaces('group_members', 'workspace_id');
GRANT SELECT, INSERT, UPDATE, DELETE ON group_members TO caracal_app;

CREATE POLICY look_up ON group_roles FOR SELECT TO CURRENT_USER
    USING (current_setting('caracal.look_up', true) = 'on');
CREATE POLICY look_up ON group_members FOR SELECT TO CURRENT_USER
    USING (current_setting('caracal.look_up', true) = 'on');
CREATE POLICY sign_in ON people FOR INSERT TO CURRENT_USER
    WITH CHECK (current_setting('caracal.sign_in', true) = 'on');

-- Which workspaces have a role for one of these groups? The caller has proven to be in them.
-- +goose StatementBegin
CREATE FUNCTION look_up_group_roles(names text[])
    RETURNS TABLE (workspace_id text, role text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('caracal.look_up', 'on', true);
    RETURN QUERY SELECT g.workspace_id, g.role
    FROM public.group_roles g JOIN public.workspaces w ON w.id = g.workspace_id
    WHERE g.group_name = ANY (names) AND w.archived_at IS NULL AND w.deleted_at IS NULL;
    PERFORM set_config('caracal.look_up', 'off', true);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_group_roles(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_group_roles(text[]) TO caracal_app;

-- In which workspaces do groups decide on a person's role?
-- +goose StatementBegin
CREATE FUNCTION look_up_group_memberships(who text) RETURNS SETOF text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('caracal.look_up', 'on', true);
    RETURN QUERY SELECT g.workspace_id
    FROM public.group_members g
    JOIN public.principals p ON p.workspace_id = g.workspace_id AND p.id = g.principal_id
    JOIN public.workspaces w ON w.id = g.workspace_id
    WHERE p.person_id = who AND who <> '' AND w.archived_at IS NULL AND w.deleted_at IS NULL;
    PERFORM set_config('caracal.look_up', 'off', true);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_group_memberships(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_group_memberships(text) TO caracal_app;

-- +goose StatementBegin
CREATE FUNCTION look_up_login(login_issuer text, login_subject text) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT l.person_id FROM public.logins l WHERE l.issuer = login_issuer AND l.subject = login_subject
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_login(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_login(text, text) TO caracal_app;

-- How a person signs in, for that person and for who invites it.
-- +goose StatementBegin
CREATE FUNCTION look_up_logins(person text)
    RETURNS TABLE (issuer text, subject text, name text, email text, email_verified boolean, last_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT l.issuer, l.subject, l.name, l.email, l.email_verified, l.last_at
    FROM public.logins l WHERE l.person_id = person ORDER BY l.created_at
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_logins(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_logins(text) TO caracal_app;

-- Answers whose identity this is; the first time it becomes that of a person who is made for it. An identity that has a
-- person never gets another.
-- +goose StatementBegin
CREATE FUNCTION bind_login(login_issuer text, login_subject text, candidate text, login_name text, login_email text,
        login_verified boolean, at timestamptz) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    person text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(login_issuer || chr(1) || login_subject, 0));
    UPDATE public.logins l SET name = login_name, email = login_email, email_verified = login_verified, last_at = at
    WHERE l.issuer = login_issuer AND l.subject = login_subject RETURNING l.person_id INTO person;
    IF person IS NULL THEN
        PERFORM set_config('caracal.sign_in', 'on', true);
        INSERT INTO public.people (id, name, created_at) VALUES (candidate, login_name, at);
        PERFORM set_config('caracal.sign_in', 'off', true);
        INSERT INTO public.logins (issuer, subject, person_id, name, email, email_verified, created_at, last_at)
        VALUES (login_issuer, login_subject, candidate, login_name, login_email, login_verified, at, at);
        person := candidate;
    END IF;
    RETURN person;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION bind_login(text, text, text, text, text, boolean, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION bind_login(text, text, text, text, text, boolean, timestamptz) TO caracal_app;

-- +goose StatementBegin
CREATE FUNCTION open_session(session_id text, secret_hash bytea, session_kind text, person text, key text,
        login_issuer text, at timestamptz, ends timestamptz, agent text, client text) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO public.sessions (id, hash, kind, person_id, key_id, issuer, created_at, seen_at, expires_at, user_agent, address)
    VALUES (session_id, secret_hash, session_kind, person, key, login_issuer, at, at, ends, agent, client)
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION open_session(text, bytea, text, text, text, text, timestamptz, timestamptz, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION open_session(text, bytea, text, text, text, text, timestamptz, timestamptz, text, text) TO caracal_app;

-- +goose StatementBegin
CREATE FUNCTION look_up_session(secret_hash bytea)
    RETURNS TABLE (id text, kind text, person_id text, key_id text, issuer text, created_at timestamptz, seen_at timestamptz,
        expires_at timestamptz, user_agent text, address text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT s.id, s.kind, s.person_id, s.key_id, s.issuer, s.created_at, s.seen_at, s.expires_at, s.user_agent, s.address
    FROM public.sessions s WHERE s.hash = secret_hash
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_session(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_session(bytea) TO caracal_app;

-- +goose StatementBegin
CREATE FUNCTION look_up_sessions(person text)
    RETURNS TABLE (id text, kind text, person_id text, key_id text, issuer text, created_at timestamptz, seen_at timestamptz,
        expires_at timestamptz, user_agent text, address text)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT s.id, s.kind, s.person_id, s.key_id, s.issuer, s.created_at, s.seen_at, s.expires_at, s.user_agent, s.address
    FROM public.sessions s WHERE s.person_id = person ORDER BY s.created_at DESC, s.id LIMIT 1000
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_sessions(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_sessions(text) TO caracal_app;

-- +goose StatementBegin
CREATE FUNCTION see_session(session_id text, at timestamptz) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE public.sessions s SET seen_at = at WHERE s.id = session_id AND s.seen_at < at
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION see_session(text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION see_session(text, timestamptz) TO caracal_app;

-- Ends one session of a person, or all where no session is named. It answers how many there were.
-- +goose StatementBegin
CREATE FUNCTION end_sessions(person text, session_id text) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH ended AS (
        DELETE FROM public.sessions s WHERE s.person_id = person AND (session_id = '' OR s.id = session_id) RETURNING 1
    )
    SELECT count(*) FROM ended
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION end_sessions(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION end_sessions(text, text) TO caracal_app;

-- Keeps a ticket in the place of every other of the same purpose about the same thing.
-- +goose StatementBegin
CREATE FUNCTION keep_ticket(secret_hash bytea, ticket_purpose text, ticket_about text, ticket_content jsonb, ends timestamptz)
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF ticket_about <> '' THEN
        DELETE FROM public.tickets t WHERE t.purpose = ticket_purpose AND t.about = ticket_about;
    END IF;
    INSERT INTO public.tickets (hash, purpose, about, content, expires_at)
    VALUES (secret_hash, ticket_purpose, ticket_about, ticket_content, ends);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION keep_ticket(bytea, text, text, jsonb, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION keep_ticket(bytea, text, text, jsonb, timestamptz) TO caracal_app;

-- Looks at a ticket without using it.
-- +goose StatementBegin
CREATE FUNCTION look_up_ticket(secret_hash bytea, ticket_purpose text, at timestamptz) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.content FROM public.tickets t
    WHERE t.hash = secret_hash AND t.purpose = ticket_purpose AND t.expires_at > at
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_ticket(bytea, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_ticket(bytea, text, timestamptz) TO caracal_app;

-- Uses a ticket up: of those who ask at once, one is answered.
-- +goose StatementBegin
CREATE FUNCTION take_ticket(secret_hash bytea, ticket_purpose text, at timestamptz) RETURNS jsonb
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM public.tickets t
    WHERE t.hash = secret_hash AND t.purpose = ticket_purpose AND t.expires_at > at
    RETURNING t.content
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION take_ticket(bytea, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION take_ticket(bytea, text, timestamptz) TO caracal_app;

-- Removes what has ended by itself.
-- +goose StatementBegin
CREATE FUNCTION expire_sessions(at timestamptz, idle_since timestamptz) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM public.tickets t WHERE t.expires_at <= at;
    DELETE FROM public.sessions s WHERE s.expires_at <= at OR s.seen_at <= idle_since
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION expire_sessions(timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION expire_sessions(timestamptz, timestamptz) TO caracal_app;
