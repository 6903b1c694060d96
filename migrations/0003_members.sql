-- People, who are members of workspaces with a role, and the terms of keys.

-- +goose Up

-- A person is the same in every workspace of the deployment; in each that it is a member of, it is one user principal.
-- Nobody can list people: the application adds one, and reaches one by an id of 128 random bits.
CREATE TABLE people (
    id         text PRIMARY KEY,
    name       text NOT NULL,
    created_at timestamptz NOT NULL
);
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
ALTER TABLE people FORCE ROW LEVEL SECURITY;
CREATE POLICY join_deployment ON people FOR INSERT TO caracal_app WITH CHECK (true);
CREATE POLICY look_up ON people FOR SELECT TO CURRENT_USER USING (current_setting('caracal.look_up', true) = 'on');
CREATE POLICY migrate ON people FOR INSERT TO CURRENT_USER WITH CHECK (current_setting('caracal.migrate', true) = 'on');
GRANT INSERT ON people TO caracal_app;

-- A member keeps its person when its role is taken, so that it is the same member when it comes back. The generated column
-- carries the foreign key of person_id, which is empty and not NULL where there is no person.
ALTER TABLE principals
    ADD COLUMN person_id text NOT NULL DEFAULT '',
    ADD COLUMN person text GENERATED ALWAYS AS (nullif(person_id, '')) STORED REFERENCES people (id),
    ADD CONSTRAINT principals_one_per_person UNIQUE (workspace_id, person),
    ADD CONSTRAINT principals_people_are_users CHECK (person_id = '' OR type = 'user'),
    ADD CONSTRAINT principals_roles CHECK (role IN ('', 'owner', 'admin', 'operator', 'policy_author', 'auditor', 'viewer'));
CREATE INDEX principals_of_person ON principals (person_id) WHERE person_id <> '';
CREATE POLICY look_up ON principals FOR SELECT TO CURRENT_USER USING (current_setting('caracal.look_up', true) = 'on');

-- Whoever was a member before there were people is one, of this workspace alone. Row-level security holds for the owner
-- of the tables too: these policies let it fill the new columns.
CREATE POLICY migrate ON principals FOR ALL TO CURRENT_USER USING (current_setting('caracal.migrate', true) = 'on');
CREATE POLICY migrate ON api_keys FOR ALL TO CURRENT_USER USING (current_setting('caracal.migrate', true) = 'on');
SELECT set_config('caracal.migrate', 'on', true);
-- +goose StatementBegin
DO $$
DECLARE
    member record;
    psn    text;
    bits   bytea;
BEGIN
    FOR member IN SELECT id, name, created_at FROM principals WHERE role <> '' LOOP
        bits := sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
        SELECT 'psn_' || string_agg(substr('abcdefghijklmnopqrstuvwxyz234567', 1 + (get_byte(bits, i) & 31), 1), '')
        INTO psn FROM generate_series(0, 25) i;
        INSERT INTO people (id, name, created_at) VALUES (psn, member.name, member.created_at);
        UPDATE principals SET person_id = psn WHERE id = member.id;
    END LOOP;
END
$$;
-- +goose StatementEnd

-- A key is of the kind of its holder. Its role caps what a member's key may do, workspaces are the ids of those beyond
-- its own that it opens, and it is good from the allowed networks only; empty means any. replaces is the key that it was
-- rotated from.
ALTER TABLE api_keys DROP CONSTRAINT api_keys_kind_check;
UPDATE api_keys SET kind = 'member' WHERE kind = 'owner';
UPDATE api_keys k SET kind = 'service' FROM principals p
WHERE k.kind = 'agent' AND p.workspace_id = k.workspace_id AND p.id = k.principal_id AND p.type = 'service';
SELECT set_config('caracal.migrate', 'off', true);
DROP POLICY migrate ON people;
DROP POLICY migrate ON principals;
DROP POLICY migrate ON api_keys;
ALTER TABLE api_keys
    ADD COLUMN role text NOT NULL DEFAULT '',
    ADD COLUMN workspaces text[] NOT NULL DEFAULT '{}',
    ADD COLUMN allowed_networks cidr[] NOT NULL DEFAULT '{}',
    ADD COLUMN last_used_at timestamptz,
    ADD COLUMN replaces text NOT NULL DEFAULT '',
    ADD COLUMN replaced text GENERATED ALWAYS AS (nullif(replaces, '')) STORED,
    ADD CONSTRAINT api_keys_replaced FOREIGN KEY (workspace_id, replaced) REFERENCES api_keys (workspace_id, id),
    ADD CONSTRAINT api_keys_kinds CHECK (kind IN ('member', 'agent', 'service', 'gateway')),
    ADD CONSTRAINT api_keys_roles CHECK (role = '' OR kind = 'member' AND role IN ('owner', 'admin', 'operator', 'policy_author', 'auditor', 'viewer')),
    ADD CONSTRAINT api_keys_workspaces CHECK (workspaces = '{}' OR kind = 'member');
CREATE INDEX api_keys_of_principal ON api_keys (workspace_id, principal_id);
GRANT UPDATE (expires_at, last_used_at) ON api_keys TO caracal_app;

-- Which workspace does a key belong to, what proves it, what are its terms, and how does its holder stand? The bearer of
-- an API key names the key only. It finds one key at a time by 128 random bits: nothing can be listed.
DROP FUNCTION look_up_key(text);
-- +goose StatementBegin
CREATE FUNCTION look_up_key(key_id text)
    RETURNS TABLE (workspace_id text, kind text, principal_id text, hash bytea, expires_at timestamptz, revoked_at timestamptz,
        role text, workspaces text[], allowed_networks cidr[], person_id text, holder_role text, holder_suspended boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('caracal.look_up', 'on', true);
    RETURN QUERY SELECT k.workspace_id, k.kind, k.principal_id, k.hash, k.expires_at, k.revoked_at,
        k.role, k.workspaces, k.allowed_networks, coalesce(p.person_id, ''), coalesce(p.role, ''), coalesce(p.suspended, false)
    FROM public.api_keys k
    LEFT JOIN public.principals p ON p.workspace_id = k.workspace_id AND p.id = k.principal_id
    WHERE k.id = key_id;
    PERFORM set_config('caracal.look_up', 'off', true);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_key(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_key(text) TO caracal_app;

-- In which workspaces is a person an active member, as which principal?
-- +goose StatementBegin
CREATE FUNCTION look_up_memberships(who text)
    RETURNS TABLE (workspace_id text, slug text, principal_id text, role text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('caracal.look_up', 'on', true);
    RETURN QUERY SELECT p.workspace_id, w.slug, p.id, p.role
    FROM public.principals p JOIN public.workspaces w ON w.id = p.workspace_id
    WHERE p.person_id = who AND who <> '' AND p.role <> '' AND NOT p.suspended
    ORDER BY p.created_at, p.id;
    PERFORM set_config('caracal.look_up', 'off', true);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_memberships(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_memberships(text) TO caracal_app;

-- Which of the given workspaces holds the thing of an id? The caller may enter each of them: it is not told of others.
CREATE POLICY look_up ON policies FOR SELECT TO CURRENT_USER USING (current_setting('caracal.look_up', true) = 'on');
CREATE POLICY look_up ON mandates FOR SELECT TO CURRENT_USER USING (current_setting('caracal.look_up', true) = 'on');
CREATE POLICY look_up ON destinations FOR SELECT TO CURRENT_USER USING (current_setting('caracal.look_up', true) = 'on');
CREATE POLICY look_up ON rego_versions FOR SELECT TO CURRENT_USER USING (current_setting('caracal.look_up', true) = 'on');
CREATE POLICY look_up ON gateways FOR SELECT TO CURRENT_USER USING (current_setting('caracal.look_up', true) = 'on');
CREATE POLICY look_up ON events FOR SELECT TO CURRENT_USER USING (current_setting('caracal.look_up', true) = 'on');
-- +goose StatementBegin
CREATE FUNCTION look_up_holder(thing text, workspaces text[]) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    relation regclass;
    named    text := 'id';
    found    text;
BEGIN
    CASE split_part(thing, '_', 1)
        WHEN 'prn' THEN relation := 'public.principals';
        WHEN 'pol' THEN relation := 'public.policies';
        WHEN 'mdt' THEN relation := 'public.mandates';
        WHEN 'dst' THEN relation := 'public.destinations';
        WHEN 'rgo' THEN relation := 'public.rego_versions';
        WHEN 'key' THEN relation := 'public.api_keys';
        WHEN 'gtw' THEN relation := 'public.gateways';
        WHEN 'iss' THEN relation := to_regclass('public.issuers');
        WHEN 'cau' THEN relation := to_regclass('public.client_authorities');
        WHEN 'sgk' THEN
            relation := 'public.signing_keys';
            thing := substr(thing, 5);
        WHEN 'evt' THEN relation := 'public.events';
        WHEN 'dec' THEN
            relation := 'public.events';
            named := 'decision_id';
        ELSE RETURN NULL;
    END CASE;
    IF relation IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM set_config('caracal.look_up', 'on', true);
    EXECUTE format('SELECT workspace_id FROM %s WHERE workspace_id = ANY ($1) AND %I = $2 LIMIT 1', relation, named)
        INTO found USING workspaces, thing;
    PERFORM set_config('caracal.look_up', 'off', true);
    RETURN found;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION look_up_holder(text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION look_up_holder(text, text[]) TO caracal_app;
