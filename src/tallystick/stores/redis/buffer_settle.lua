-- Drop entries and publish answers. KEYS: the stream, the size of each entry by id, the size of all, the mark of whoever
-- drains, and the place of each answer. ARGV: for how many milliseconds the mark and an answer last, the answers, and the
-- ids of the entries.
-- Dropping comes first: a Redis that is full refuses a script that begins with something that needs room.
local answers = #KEYS - 4
for place = 3 + answers, #ARGV do
  redis.call('XDEL', KEYS[1], ARGV[place])
  local size = redis.call('HGET', KEYS[2], ARGV[place])
  if size then
    redis.call('HDEL', KEYS[2], ARGV[place])
    redis.call('DECRBY', KEYS[3], size)
  end
end
for place = 1, answers do
  redis.call('SET', KEYS[4 + place], ARGV[2 + place], 'PX', ARGV[2])
end
redis.call('SET', KEYS[4], 1, 'PX', ARGV[1])
return redis.call('XLEN', KEYS[1])
