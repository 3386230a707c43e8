-- name: take_leadership
-- Lead $1 as $2 for $3 seconds if nobody else does, and return the term; no row when somebody does.
INSERT INTO leaderships AS held (name, holder, term, expires_at)
VALUES ($1, $2, 1, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (name) DO UPDATE SET
    holder = excluded.holder,
    term = CASE
        WHEN held.holder = excluded.holder AND held.expires_at > clock_timestamp() THEN held.term
        ELSE held.term + 1
    END,
    expires_at = excluded.expires_at
WHERE held.holder = excluded.holder OR held.expires_at <= clock_timestamp()
RETURNING term

-- name: leadership
-- Return who leads, or led last.
SELECT holder, term, expires_at > clock_timestamp() AS is_held FROM leaderships WHERE name = $1

-- name: give_up_leadership
-- Let others lead $1 if $2 does.
UPDATE leaderships SET expires_at = clock_timestamp() WHERE name = $1 AND holder = $2
