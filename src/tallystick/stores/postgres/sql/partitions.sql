-- name: event_partitions
-- Return the names of the partitions that spend_events has.
SELECT child.relname
FROM pg_inherits
JOIN pg_class AS child ON child.oid = pg_inherits.inhrelid
WHERE pg_inherits.inhparent = 'spend_events'::regclass

-- name: lock_event_partitions
-- Wait until nobody else makes partitions; held to the end of the transaction. The number is 'days' in hex.
SELECT pg_advisory_xact_lock(1684109683)

-- name: limit_lock_wait
-- Give up soon when a long report stands in the way: everybody behind us would wait as well.
SET LOCAL lock_timeout = '2s'

-- name: create_event_partition
-- Make the partition {name} from {first} up to, not including, {until}. Attaching takes a weaker lock on spend_events
-- than CREATE TABLE ... PARTITION OF, so commits go on.
CREATE TABLE {name} (LIKE spend_events INCLUDING ALL);
ALTER TABLE spend_events ATTACH PARTITION {name} FOR VALUES FROM ('{first} 00:00:00+00') TO ('{until} 00:00:00+00')
