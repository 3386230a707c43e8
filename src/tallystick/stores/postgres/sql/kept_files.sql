-- name: add_kept_file
-- Note a file, unless it is noted.
INSERT INTO kept_files (file_no, deployment_id, upstream_id, key_hash, user_id, team_id, purpose, held, answer)
VALUES ($1, $2, $3, $4::text, $5::text, $6::text, $7::text, $8, $9::text)
ON CONFLICT (deployment_id, upstream_id) DO NOTHING

-- name: forget_kept_file
-- Delete one.
DELETE FROM kept_files WHERE deployment_id = $1 AND upstream_id = $2

-- name: list_kept_files
-- Return the files of an owner, newest first.
SELECT file_no, deployment_id, upstream_id, key_hash, user_id, team_id, purpose, held, answer
FROM kept_files
WHERE
    (
        $1::boolean
        OR key_hash = $2::text
        OR (user_id <> '' AND user_id = $3::text)
        OR (team_id <> '' AND team_id = $4::text)
    )
    AND ($5::text IS NULL OR purpose = $5::text)
    AND (
        $6::text = ''
        OR file_no < (
            SELECT file_no FROM kept_files WHERE deployment_id = $7::text AND upstream_id = $6::text
        )
    )
ORDER BY file_no DESC
LIMIT $8
