-- Everything that admins write, in one table: what it is looked up by is a column, the rest is `spec`. Deleted objects
-- stay, for history. `spec` is json, not jsonb: it comes back as it was written, numbers and the order of names included.
CREATE TABLE control_objects (
    object_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    expires_at timestamptz,
    deleted_at timestamptz,
    is_living boolean NOT NULL GENERATED ALWAYS AS (deleted_at IS NULL) STORED,
    blocked boolean NOT NULL DEFAULT false,
    kind text COLLATE "C" NOT NULL,
    object_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL DEFAULT '',
    organization_id text COLLATE "C" NOT NULL DEFAULT '',
    team_id text COLLATE "C" NOT NULL DEFAULT '',
    user_id text COLLATE "C" NOT NULL DEFAULT '',
    budget_id text COLLATE "C" NOT NULL DEFAULT '',
    created_by text COLLATE "C" NOT NULL DEFAULT '',
    updated_by text COLLATE "C" NOT NULL DEFAULT '',
    deleted_by text COLLATE "C" NOT NULL DEFAULT '',
    -- In lower case as Python has it, which a database's own lower() need not be. What a search compares with.
    name_lower text COLLATE "C" NOT NULL DEFAULT '',
    id_lower text COLLATE "C" NOT NULL,
    spec json NOT NULL
) WITH (fillfactor = 80);

CREATE UNIQUE INDEX control_objects_by_id ON control_objects (kind, object_id) WHERE is_living;
-- A key's hash stays taken for ever: events of the past name it.
CREATE UNIQUE INDEX control_objects_by_key_hash ON control_objects (object_id) WHERE kind = 'key';
-- The kinds of `control.objects.NAMED_ONCE`.
CREATE UNIQUE INDEX control_objects_by_unique_name ON control_objects (kind, name)
WHERE is_living AND name <> '' AND kind IN ('key', 'access_group');

-- Each list is one walk along one of these, in the order of its page. The last column is age.
CREATE INDEX control_objects_by_age ON control_objects (kind, is_living, created_at, object_no);
CREATE INDEX control_objects_by_update ON control_objects (kind, is_living, updated_at, object_no);
CREATE INDEX control_objects_by_name ON control_objects (kind, is_living, name, object_no);
CREATE INDEX control_objects_by_expiry ON control_objects (kind, is_living, expires_at NULLS FIRST, object_no);
CREATE INDEX control_objects_in_order_of_ids ON control_objects (kind, is_living, object_id, object_no);
CREATE INDEX control_objects_by_organization
ON control_objects (kind, is_living, organization_id, created_at, object_no);
CREATE INDEX control_objects_by_team ON control_objects (kind, is_living, team_id, created_at, object_no);
-- All relations of a user, so that a membership is found by its two.
CREATE INDEX control_objects_by_user ON control_objects (kind, is_living, user_id, team_id, organization_id);
CREATE INDEX control_objects_by_budget ON control_objects (kind, is_living, budget_id, object_no);
CREATE INDEX control_objects_by_creator ON control_objects (kind, is_living, created_by, created_at, object_no);

-- By what an object is found when a part of its name or id is known (`stores/grams.py`). Apart, because it is as large
-- as the object itself and hardly ever changes.
CREATE TABLE control_search (
    object_no bigint PRIMARY KEY,
    grams tsvector NOT NULL
);
CREATE INDEX control_search_by_gram ON control_search USING gin (grams);

-- Who did what. Its number is that of the change in the feed, so its order is that of commits.
CREATE TABLE audit_log (
    revision bigint PRIMARY KEY,
    audit_id uuid NOT NULL,
    changed_at timestamptz NOT NULL,
    key_hash text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    changed_by text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    object_id text COLLATE "C" NOT NULL,
    before json,
    after json
);
CREATE UNIQUE INDEX audit_log_by_id ON audit_log (audit_id);
CREATE INDEX audit_log_by_object ON audit_log (object_id, kind, revision);
CREATE INDEX audit_log_by_kind ON audit_log (kind, action, revision);
CREATE INDEX audit_log_by_action ON audit_log (action, revision);
CREATE INDEX audit_log_by_key ON audit_log (key_hash, revision);
CREATE INDEX audit_log_by_user ON audit_log (user_id, revision);
CREATE INDEX audit_log_by_changed_by ON audit_log (changed_by, revision);
CREATE INDEX audit_log_by_time ON audit_log (changed_at, revision);

INSERT INTO control_objects (
    revision, created_at, updated_at, expires_at, deleted_at, blocked, kind, object_id, name, organization_id, team_id,
    user_id, created_by, name_lower, id_lower, spec
)
SELECT
    coalesce((SELECT max(revision) FROM change_feed WHERE kind = 'key' AND object_id = key_hash), 0),
    created_at, updated_at, expires_at, deleted_at, blocked, 'key', key_hash, key_alias, organization_id, team_id,
    user_id, created_by, lower(key_alias), lower(key_hash),
    json_build_object('models', models, 'tags', tags, 'metadata', metadata, 'key_name', key_name)
FROM virtual_keys
ORDER BY created_at, key_hash;

INSERT INTO control_search (object_no, grams)
SELECT gram.object_no, array_to_tsvector(array_agg(DISTINCT gram.gram))
FROM (
    SELECT control_objects.object_no, encode(convert_to(substr(part.part, place, 3), 'UTF8'), 'hex') AS gram
    FROM control_objects
    CROSS JOIN LATERAL (VALUES (name_lower), (id_lower)) AS part (part)
    CROSS JOIN LATERAL generate_series(1, char_length(part.part)) AS place
    UNION ALL
    SELECT object_no, 'zkey' FROM control_objects
) AS gram
GROUP BY gram.object_no;

DROP TABLE virtual_keys;
