-- Return the newest answer to a producer, whether the entry ARGV[1] is there, and whether somebody drains. KEYS: the size
-- of each entry by id, the mark of whoever drains, the answer.
return {redis.call('GET', KEYS[3]), redis.call('HEXISTS', KEYS[1], ARGV[1]), redis.call('EXISTS', KEYS[2])}
