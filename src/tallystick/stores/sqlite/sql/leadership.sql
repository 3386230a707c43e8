-- name: take_leadership
-- Lead :name as :holder until :until if nobody else does at :now, and return the term; no row when somebody does.
INSERT INTO leaderships AS held (name, holder, term, expires_at) VALUES (:name, :holder, 1, :until)
ON CONFLICT (name) DO UPDATE SET
  holder = excluded.holder,
  term = CASE WHEN held.holder = excluded.holder AND held.expires_at > :now THEN held.term ELSE held.term + 1 END,
  expires_at = excluded.expires_at
WHERE held.holder = excluded.holder OR held.expires_at <= :now
RETURNING term;

-- name: leadership
-- Return who leads.
SELECT holder, term FROM leaderships WHERE name = ?;

-- name: give_up_leadership
-- Let others lead :name at :now if :holder does.
UPDATE leaderships SET expires_at = :now WHERE name = :name AND holder = :holder;
