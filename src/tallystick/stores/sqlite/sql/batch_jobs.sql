-- name: begin_job
-- Note a job before the upstream is asked.
INSERT INTO batch_jobs (
  job_id, state, deployment_id, upstream_id, key_hash, user_id, team_id, made_at, next_look_at, looks, event_id,
  event_time, template, answer
)
VALUES (
  :job_id, 'creating', :deployment_id, '', :key_hash, :user_id, :team_id, :made_at, :next_look_at, 0, '', NULL,
  :template, ''
)

-- name: open_job
-- The upstream has a job that was being created.
UPDATE batch_jobs SET state = 'open', upstream_id = :upstream_id, answer = :answer, next_look_at = :next_look_at
WHERE job_id = :job_id AND state = 'creating'

-- name: drop_job
-- Forget a job that was being created.
DELETE FROM batch_jobs WHERE job_id = :job_id AND state = 'creating'

-- name: lose_job
-- Keep a job that was being created as one that the upstream never had.
UPDATE batch_jobs SET state = 'lost' WHERE job_id = :job_id AND state = 'creating'

-- name: find_job
-- Return a job by the upstream's id.
SELECT
  job_id, state, deployment_id, upstream_id, key_hash, user_id, team_id, made_at, next_look_at, looks, event_id,
  template, answer
FROM batch_jobs
WHERE deployment_id = :deployment_id AND upstream_id = :upstream_id

-- name: list_jobs
-- Return the jobs of an owner that the upstream has, newest first.
SELECT
  job_id, state, deployment_id, upstream_id, key_hash, user_id, team_id, made_at, next_look_at, looks, event_id,
  template, answer
FROM batch_jobs
WHERE
  upstream_id <> ''
  AND (
    :everybody
    OR key_hash = :key_hash
    OR (user_id <> '' AND user_id = :user_id)
    OR (team_id <> '' AND team_id = :team_id)
  )
  AND (
    :after_upstream = ''
    OR job_id < (
      SELECT job_id FROM batch_jobs WHERE deployment_id = :after_deployment AND upstream_id = :after_upstream
    )
  )
ORDER BY job_id DESC
LIMIT :limit

-- name: take_due_jobs
-- Return jobs whose time has come, which nobody else is given before then.
UPDATE batch_jobs SET next_look_at = :until, looks = looks + 1
WHERE job_id IN (
  SELECT job_id
  FROM batch_jobs
  WHERE state IN ('creating', 'open') AND next_look_at <= :now
  ORDER BY next_look_at
  LIMIT :limit
)
RETURNING
  job_id, state, deployment_id, upstream_id, key_hash, user_id, team_id, made_at, next_look_at, looks, event_id,
  template, answer

-- name: note_job_look
-- Note what the upstream said of a job that is not done, and when to look again.
UPDATE batch_jobs SET answer = coalesce(:answer, answer), next_look_at = :next_look_at
WHERE job_id = :job_id AND state IN ('creating', 'open')

-- name: give_job_event
-- Give a job's event its id, if it has none.
UPDATE batch_jobs SET event_id = :event_id, event_time = :event_time WHERE job_id = :job_id AND event_id = ''

-- name: job_event
-- Return the id of a job's event.
SELECT event_id FROM batch_jobs WHERE job_id = :job_id

-- name: close_charged_jobs
-- Close the jobs whose event the ledger holds.
UPDATE batch_jobs SET state = 'charged'
WHERE
  state = 'open'
  AND event_id <> ''
  AND (
    EXISTS (
      SELECT 1 FROM spend_events AS event
      WHERE event.event_time = batch_jobs.event_time AND event.event_id = batch_jobs.event_id
    )
    OR EXISTS (SELECT 1 FROM dead_letters AS letter WHERE letter.event_id = batch_jobs.event_id)
  )
RETURNING job_id

-- name: count_jobs
-- Return how many jobs are not done, by state.
SELECT state, count(*) FROM batch_jobs WHERE state IN ('creating', 'open') GROUP BY state
