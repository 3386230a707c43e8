-- name: add_kept_file
-- Note a file, unless it is noted.
INSERT INTO kept_files (file_no, deployment_id, upstream_id, key_hash, user_id, team_id, purpose, held, answer)
VALUES (:file_no, :deployment_id, :upstream_id, :key_hash, :user_id, :team_id, :purpose, :held, :answer)
ON CONFLICT (deployment_id, upstream_id) DO NOTHING

-- name: forget_kept_file
-- Delete one.
DELETE FROM kept_files WHERE deployment_id = :deployment_id AND upstream_id = :upstream_id

-- name: list_kept_files
-- Return the files of an owner, newest first.
SELECT file_no, deployment_id, upstream_id, key_hash, user_id, team_id, purpose, held, answer
FROM kept_files
WHERE
  (
    :everybody
    OR key_hash = :key_hash
    OR (user_id <> '' AND user_id = :user_id)
    OR (team_id <> '' AND team_id = :team_id)
  )
  AND (:purpose IS NULL OR purpose = :purpose)
  AND (
    :after_upstream = ''
    OR file_no < (
      SELECT file_no FROM kept_files WHERE deployment_id = :after_deployment AND upstream_id = :after_upstream
    )
  )
ORDER BY file_no DESC
LIMIT :limit
