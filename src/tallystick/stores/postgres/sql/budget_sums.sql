-- name: counts_for_global
-- Every event.
TRUE

-- name: counts_for_key
-- The events of a key. In this and the next: the second condition lets the partial index serve.
event.key_hash = ANY ({ids}::text[]) AND event.key_hash <> ''

-- name: counts_for_user
-- The events of a user.
event.user_id = ANY ({ids}::text[]) AND event.user_id <> ''

-- name: counts_for_personal
-- The events of a user's keys that have no team.
event.user_id = ANY ({ids}::text[]) AND event.user_id <> '' AND event.team_id = ''

-- name: counts_for_team
-- The events of a team.
event.team_id = ANY ({ids}::text[]) AND event.team_id <> ''

-- name: counts_for_team_member
-- The events of a user in a team.
event.team_id = ANY ({ids}::text[]) AND event.team_id <> '' AND event.user_id = {member}::text

-- name: counts_for_organization
-- The events of an organization.
event.organization_id = ANY ({ids}::text[]) AND event.organization_id <> ''

-- name: counts_for_organization_member
-- The events of a user in an organization.
event.organization_id = ANY ({ids}::text[]) AND event.organization_id <> '' AND event.user_id = {member}::text

-- name: counts_for_provider
-- The events that a provider answered.
event.provider = ANY ({ids}::text[])

-- name: counts_for_session
-- The events of a session of a key.
event.session_id = ANY ({ids}::text[]) AND event.session_id <> '' AND event.key_hash = {member}::text

-- name: counts_for_end_user
-- The events of an end user.
event.end_user_id = ANY ({ids}::text[])

-- name: counts_for_tag
-- The events that have a tag.
event.tags && {ids}::text[]

-- name: counts_for_entity
-- The days of an end user or a tag.
event.entity_type = {type}::text AND event.entity_id = ANY ({ids}::text[])

-- name: counts_for_model
-- Of these, the events of one model group.
event.model_group = {model}::text

-- name: spent_in_all
-- Return what entities have spent in all.
SELECT coalesce(sum(cost_nano_usd), 0)::bigint
FROM totals
WHERE entity_type = $1 AND entity_id = ANY ($2::text[]) AND member_id = $3

-- name: spent_in_all_personally
-- Return what users have spent in all, without what they have spent as members of teams.
SELECT (
    (SELECT coalesce(sum(cost_nano_usd), 0) FROM totals WHERE entity_type = 'user' AND entity_id = ANY ($1::text[]))
    - (SELECT coalesce(sum(cost_nano_usd), 0) FROM totals
        WHERE entity_type = 'team_member' AND member_id = ANY ($1::text[]))
)::bigint

-- name: spent_by_days_and_times
-- Return what was spent on the days from $1 up to $2, with what was spent in a part of the day $4, from $5 up to $6, and
-- in one of the day $8, from $9 up to $10; $3 and $7 say whether these are added (1) or taken off (-1). The events of a
-- day are not looked at when there is no sum of that day.
SELECT (
    (SELECT coalesce(sum(event.cost_nano_usd), 0) FROM {days} AS event
        WHERE event.day >= $1 AND event.day < $2 AND {who_by_day})
    + $3::integer * (SELECT coalesce(sum(event.cost_nano_usd), 0) FROM spend_events AS event
        WHERE event.event_time >= $5 AND event.event_time < $6 AND {who}
            AND EXISTS (SELECT FROM {days} AS event WHERE event.day = $4 AND {who_by_day}))
    + $7::integer * (SELECT coalesce(sum(event.cost_nano_usd), 0) FROM spend_events AS event
        WHERE event.event_time >= $9 AND event.event_time < $10 AND {who}
            AND EXISTS (SELECT FROM {days} AS event WHERE event.day = $8 AND {who_by_day}))
)::bigint

-- name: spent_by_days
-- Return what was spent on the days from $1 up to $2.
SELECT coalesce(sum(event.cost_nano_usd), 0)::bigint
FROM {days} AS event
WHERE event.day >= $1 AND event.day < $2 AND {who_by_day}

-- name: spent_between
-- Return what was spent from $1 up to $2, from the events themselves.
SELECT coalesce(sum(event.cost_nano_usd), 0)::bigint
FROM spend_events AS event
WHERE event.event_time >= $1 AND event.event_time < $2 AND {who}
