-- Return the number of entries, their size, and for how many milliseconds the oldest is there. KEYS: the stream, the size
-- of all.
local entries = redis.call('XLEN', KEYS[1])
if entries == 0 then
  return {0, 0, 0}
end
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return {entries, tonumber(redis.call('GET', KEYS[2]) or 0), now - tonumber(string.match(oldest, '^%d+'))}
