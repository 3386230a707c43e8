-- name: spent_in_all
-- Return what was ever spent by entities of one type.
SELECT coalesce(sum(cost_nano_usd), 0)
FROM totals
WHERE entity_type = :total_type AND entity_id IN (SELECT value FROM json_each(:ids)) AND member_id = :member_id;

-- name: spent_in_all_in_teams
-- Return what users ever spent as members of teams.
SELECT coalesce(sum(cost_nano_usd), 0)
FROM totals INDEXED BY totals_by_member
WHERE entity_type = 'team_member' AND member_id IN (SELECT value FROM json_each(:ids));

-- name: spent_by_days
-- Return what was spent on the days from :first_day up to :end_day, and of how many sums that is.
SELECT coalesce(sum(cost_nano_usd), 0), count(*)
FROM daily_spend
WHERE day >= :first_day AND day < :end_day
  AND (:providers IS NULL OR provider IN (SELECT value FROM json_each(:providers)))
  AND (:model = '' OR model_group = :model);

-- name: spent_by_days_of_keys
-- Return what keys spent on the days from :first_day up to :end_day, and of how many sums that is.
SELECT coalesce(sum(cost_nano_usd), 0), count(*)
FROM daily_spend INDEXED BY daily_spend_by_key
WHERE key_hash IN (SELECT value FROM json_each(:keys)) AND key_hash <> ''
  AND day >= :first_day AND day < :end_day
  AND (:model = '' OR model_group = :model);

-- name: spent_by_days_of_users
-- Return what users spent, in teams and organizations, on the days from :first_day up to :end_day, and of how many sums that is.
SELECT coalesce(sum(cost_nano_usd), 0), count(*)
FROM daily_spend INDEXED BY daily_spend_by_user
WHERE user_id IN (SELECT value FROM json_each(:users)) AND user_id <> ''
  AND day >= :first_day AND day < :end_day
  AND (:teams IS NULL OR team_id IN (SELECT value FROM json_each(:teams)))
  AND (:organizations IS NULL OR organization_id IN (SELECT value FROM json_each(:organizations)))
  AND (:model = '' OR model_group = :model);

-- name: spent_by_days_of_teams
-- Return what teams spent on the days from :first_day up to :end_day, and of how many sums that is.
SELECT coalesce(sum(cost_nano_usd), 0), count(*)
FROM daily_spend INDEXED BY daily_spend_by_team
WHERE team_id IN (SELECT value FROM json_each(:teams)) AND team_id <> ''
  AND day >= :first_day AND day < :end_day
  AND (:model = '' OR model_group = :model);

-- name: spent_by_days_of_organizations
-- Return what organizations spent on the days from :first_day up to :end_day, and of how many sums that is.
SELECT coalesce(sum(cost_nano_usd), 0), count(*)
FROM daily_spend INDEXED BY daily_spend_by_organization
WHERE organization_id IN (SELECT value FROM json_each(:organizations)) AND organization_id <> ''
  AND day >= :first_day AND day < :end_day
  AND (:model = '' OR model_group = :model);

-- name: spent_by_days_of_entities
-- Return what end users or tags spent on the days from :first_day up to :end_day, and of how many sums that is.
SELECT coalesce(sum(cost_nano_usd), 0), count(*)
FROM daily_entity_spend
WHERE entity_type = :scope_type AND entity_id IN (SELECT value FROM json_each(:ids))
  AND day >= :first_day AND day < :end_day
  AND (:model = '' OR model_group = :model);

-- name: spent_between
-- Return what was spent from :since up to :until, from the events themselves.
SELECT coalesce(sum(cost_nano_usd), 0)
FROM spend_events INDEXED BY spend_events_by_id
WHERE event_time >= :since AND event_time < :until
  AND (:users IS NULL OR user_id IN (SELECT value FROM json_each(:users)))
  AND (:teams IS NULL OR team_id IN (SELECT value FROM json_each(:teams)))
  AND (:organizations IS NULL OR organization_id IN (SELECT value FROM json_each(:organizations)))
  AND (:providers IS NULL OR provider IN (SELECT value FROM json_each(:providers)))
  AND (:end_users IS NULL OR end_user_id IN (SELECT value FROM json_each(:end_users)))
  AND (:tags IS NULL OR EXISTS (
    SELECT 1 FROM json_each(spend_events.tags) AS tag WHERE tag.value IN (SELECT value FROM json_each(:tags))
  ))
  AND (:model = '' OR model_group = :model);

-- name: spent_between_of_keys
-- Return what keys spent from :since up to :until.
SELECT coalesce(sum(cost_nano_usd), 0)
FROM spend_events INDEXED BY spend_events_by_key
WHERE key_hash IN (SELECT value FROM json_each(:keys)) AND key_hash <> ''
  AND event_time >= :since AND event_time < :until
  AND (:model = '' OR model_group = :model);

-- name: spent_between_in_sessions
-- Return what a key spent in sessions from :since up to :until.
SELECT coalesce(sum(cost_nano_usd), 0)
FROM spend_events INDEXED BY spend_events_by_session
WHERE session_id IN (SELECT value FROM json_each(:sessions)) AND session_id <> '' AND key_hash = :member_id
  AND event_time >= :since AND event_time < :until
  AND (:model = '' OR model_group = :model);
