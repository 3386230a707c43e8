-- name: append_change
-- Append a change to the feed. The write lock makes the order of revisions the order of commits.
INSERT INTO change_feed (revision, kind, object_id, changed_at) VALUES (?, ?, ?, ?);

-- name: newest_revision
-- Return the newest revision of the change feed.
SELECT coalesce(max(revision), 0) FROM change_feed;

-- name: changes_after
-- Return the changes of some kinds (a JSON list) above a revision, in order.
SELECT revision, kind, object_id FROM change_feed
WHERE revision > ? AND kind IN (SELECT value FROM json_each(?))
ORDER BY revision
LIMIT ?;
