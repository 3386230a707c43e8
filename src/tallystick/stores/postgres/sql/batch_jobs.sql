-- name: begin_job
-- Note a job before the upstream is asked.
INSERT INTO batch_jobs (
    job_id, state, deployment_id, upstream_id, key_hash, user_id, team_id, made_at, next_look_at, looks, event_id,
    event_time, template, answer
)
VALUES (
    $1, 'creating', $2, '', $3::text, $4::text, $5::text, $6, $7, 0, '', NULL, $8,
    ''
)

-- name: open_job
-- The upstream has a job that was being created.
UPDATE batch_jobs SET state = 'open', upstream_id = $1, answer = $2::text, next_look_at = $3
WHERE job_id = $4 AND state = 'creating'

-- name: drop_job
-- Forget a job that was being created.
DELETE FROM batch_jobs WHERE job_id = $1 AND state = 'creating'

-- name: lose_job
-- Keep a job that was being created as one that the upstream never had.
UPDATE batch_jobs SET state = 'lost' WHERE job_id = $1 AND state = 'creating'

-- name: find_job
-- Return a job by the upstream's id.
SELECT
    job_id, state, deployment_id, upstream_id, key_hash, user_id, team_id, made_at, next_look_at, looks, event_id,
    template, answer
FROM batch_jobs
WHERE deployment_id = $1 AND upstream_id = $2

-- name: list_jobs
-- Return the jobs of an owner that the upstream has, newest first.
SELECT
    job_id, state, deployment_id, upstream_id, key_hash, user_id, team_id, made_at, next_look_at, looks, event_id,
    template, answer
FROM batch_jobs
WHERE
    upstream_id <> ''
    AND (
        $1::boolean
        OR key_hash = $2::text
        OR (user_id <> '' AND user_id = $3::text)
        OR (team_id <> '' AND team_id = $4::text)
    )
    AND (
        $5::text = ''
        OR job_id < (
            SELECT job_id FROM batch_jobs WHERE deployment_id = $6::text AND upstream_id = $5::text
        )
    )
ORDER BY job_id DESC
LIMIT $7

-- name: take_due_jobs
-- Return jobs whose time has come, which nobody else is given before then.
UPDATE batch_jobs SET next_look_at = $1, looks = looks + 1
WHERE job_id IN (
    SELECT job_id
    FROM batch_jobs
    WHERE state IN ('creating', 'open') AND next_look_at <= $2
    ORDER BY next_look_at
    LIMIT $3
    FOR UPDATE SKIP LOCKED
)
RETURNING
    job_id, state, deployment_id, upstream_id, key_hash, user_id, team_id, made_at, next_look_at, looks, event_id,
    template, answer

-- name: note_job_look
-- Note what the upstream said of a job that is not done, and when to look again.
UPDATE batch_jobs SET answer = coalesce($1::text, answer), next_look_at = $2
WHERE job_id = $3 AND state IN ('creating', 'open')

-- name: give_job_event
-- Give a job's event its id, if it has none.
UPDATE batch_jobs SET event_id = $1, event_time = $2 WHERE job_id = $3 AND event_id = ''

-- name: job_event
-- Return the id of a job's event.
SELECT event_id FROM batch_jobs WHERE job_id = $1

-- name: close_charged_jobs
-- Close the jobs whose event the ledger holds.
UPDATE batch_jobs SET state = 'charged'
WHERE
    state = 'open'
    AND event_id <> ''
    AND (
        EXISTS (
            SELECT 1 FROM spend_events AS event
            WHERE event.event_time = batch_jobs.event_time AND event.event_id::text = batch_jobs.event_id
        )
        OR EXISTS (SELECT 1 FROM dead_letters AS letter WHERE letter.event_id = batch_jobs.event_id)
    )
RETURNING job_id

-- name: count_jobs
-- Return how many jobs are not done, by state.
SELECT state, count(*) AS jobs FROM batch_jobs WHERE state IN ('creating', 'open') GROUP BY state
