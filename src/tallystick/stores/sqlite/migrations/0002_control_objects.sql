-- Everything that admins write, in one table: what it is looked up by is a column, the rest is `spec`, JSON as it was
-- written. Deleted objects stay, for history.
CREATE TABLE control_objects (
  object_no INTEGER PRIMARY KEY AUTOINCREMENT,
  revision INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  expires_at INTEGER,
  deleted_at INTEGER,
  -- Not generated: SQLite reads the row again for a generated column, even from an index that has it.
  is_living INTEGER NOT NULL DEFAULT 1 CHECK (is_living = (deleted_at IS NULL)),
  blocked INTEGER NOT NULL DEFAULT 0,
  kind TEXT NOT NULL,
  object_id TEXT NOT NULL,
  name TEXT NOT NULL DEFAULT '',
  organization_id TEXT NOT NULL DEFAULT '',
  team_id TEXT NOT NULL DEFAULT '',
  user_id TEXT NOT NULL DEFAULT '',
  budget_id TEXT NOT NULL DEFAULT '',
  created_by TEXT NOT NULL DEFAULT '',
  updated_by TEXT NOT NULL DEFAULT '',
  deleted_by TEXT NOT NULL DEFAULT '',
  -- In lower case as Python has it; SQLite's lower() knows ASCII only. What a search compares with.
  name_lower TEXT NOT NULL DEFAULT '',
  id_lower TEXT NOT NULL,
  spec TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX control_objects_by_id ON control_objects (kind, object_id) WHERE is_living = 1;
-- A key's hash stays taken for ever: events of the past name it.
CREATE UNIQUE INDEX control_objects_by_key_hash ON control_objects (object_id) WHERE kind = 'key';
-- The kinds of `control.objects.NAMED_ONCE`.
CREATE UNIQUE INDEX control_objects_by_unique_name ON control_objects (kind, name)
WHERE is_living = 1 AND name <> '' AND kind IN ('key', 'access_group');

-- Each list is one walk along one of these, in the order of its page. The last column is age.
CREATE INDEX control_objects_by_age ON control_objects (kind, is_living, created_at, object_no);
CREATE INDEX control_objects_by_update ON control_objects (kind, is_living, updated_at, object_no);
CREATE INDEX control_objects_by_name ON control_objects (kind, is_living, name, object_no);
CREATE INDEX control_objects_by_expiry ON control_objects (kind, is_living, expires_at, object_no);
CREATE INDEX control_objects_in_order_of_ids ON control_objects (kind, is_living, object_id, object_no);
CREATE INDEX control_objects_by_organization
ON control_objects (kind, is_living, organization_id, created_at, object_no);
CREATE INDEX control_objects_by_team ON control_objects (kind, is_living, team_id, created_at, object_no);
-- All relations of a user, so that a membership is found by its two.
CREATE INDEX control_objects_by_user ON control_objects (kind, is_living, user_id, team_id, organization_id);
CREATE INDEX control_objects_by_budget ON control_objects (kind, is_living, budget_id, object_no);
CREATE INDEX control_objects_by_creator ON control_objects (kind, is_living, created_by, created_at, object_no);

-- By what an object is found when a part of its name or id is known (`stores/grams.py`). It holds the index alone.
CREATE VIRTUAL TABLE control_search USING fts5 (
  grams, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii'
);

-- Who did what. Its number is that of the change in the feed, so its order is that of commits.
CREATE TABLE audit_log (
  revision INTEGER PRIMARY KEY,
  audit_id TEXT NOT NULL UNIQUE,
  changed_at INTEGER NOT NULL,
  key_hash TEXT NOT NULL,
  user_id TEXT NOT NULL,
  changed_by TEXT NOT NULL,
  action TEXT NOT NULL,
  kind TEXT NOT NULL,
  object_id TEXT NOT NULL,
  before TEXT,
  after TEXT
) STRICT;
CREATE INDEX audit_log_by_object ON audit_log (object_id, kind, revision);
CREATE INDEX audit_log_by_kind ON audit_log (kind, action, revision);
CREATE INDEX audit_log_by_action ON audit_log (action, revision);
CREATE INDEX audit_log_by_key ON audit_log (key_hash, revision);
CREATE INDEX audit_log_by_user ON audit_log (user_id, revision);
CREATE INDEX audit_log_by_changed_by ON audit_log (changed_by, revision);
CREATE INDEX audit_log_by_time ON audit_log (changed_at, revision);

INSERT INTO control_objects (
  revision, created_at, updated_at, expires_at, deleted_at, is_living, blocked, kind, object_id, name,
  organization_id, team_id, user_id, created_by, name_lower, id_lower, spec
)
SELECT
  coalesce((SELECT max(revision) FROM change_feed WHERE kind = 'key' AND object_id = key_hash), 0),
  created_at, updated_at, expires_at, deleted_at, deleted_at IS NULL, blocked, 'key', key_hash, key_alias,
  organization_id, team_id, user_id, created_by, lower(key_alias), lower(key_hash),
  json_object('models', json(models), 'tags', json(tags), 'metadata', json(metadata), 'key_name', key_name)
FROM virtual_keys
ORDER BY created_at, key_hash;

INSERT INTO control_search (rowid, grams)
WITH RECURSIVE gram (object_no, part, place) AS (
  SELECT object_no, name_lower, 1 FROM control_objects WHERE name_lower <> ''
  UNION ALL
  SELECT object_no, id_lower, 1 FROM control_objects WHERE id_lower <> ''
  UNION ALL
  SELECT object_no, part, place + 1 FROM gram WHERE place < length(part)
)
SELECT object_no, 'zkey ' || group_concat(DISTINCT hex(substr(part, place, 3)) || ' ')
FROM gram
GROUP BY object_no;

DROP TABLE virtual_keys;
