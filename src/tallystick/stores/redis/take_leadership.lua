-- Lead for ARGV[2] milliseconds as ARGV[1], if nobody else does. KEYS: the leader, the number of the last term.
-- Return who leads, and its term.
local leader = redis.call('GET', KEYS[1])
if not leader then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return {ARGV[1], redis.call('INCR', KEYS[2])}
end
if leader == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {leader, tonumber(redis.call('GET', KEYS[2]) or 0)}
