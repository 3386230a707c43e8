-- name: inspect
-- Return how the database is, without reading events.
SELECT
    current_setting('server_version') AS server_version,
    clock_timestamp() AS now,
    (SELECT coalesce(max(version), 0) FROM schema_migrations) AS schema_version,
    (SELECT count(*) FROM dead_letters) AS dead_letters,
    (SELECT coalesce(sum(cost_nano_usd), 0)::bigint FROM dead_letters) AS dead_letter_cost_nano_usd,
    NOT EXISTS (SELECT 1 FROM spend_events_default) AS default_is_empty
