-- Append the batch ARGV[3] of producer ARGV[1] under the nonce ARGV[2]; return its id. KEYS: the stream, the size of each
-- entry by id, the size of all, the mark of whoever drains. Without the mark: 'undrained'. Without room in ARGV[4] bytes:
-- 'full'; but one entry always has room. What nobody reads for ARGV[5] seconds is forgotten.
if redis.call('EXISTS', KEYS[4]) == 0 then
  return 'undrained'
end
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2], KEYS[3])
end
local held = tonumber(redis.call('GET', KEYS[3]) or 0)
if held > 0 and held + #ARGV[3] > tonumber(ARGV[4]) then
  return 'full'
end
local id = redis.call('XADD', KEYS[1], '*', 'producer', ARGV[1], 'nonce', ARGV[2], 'batch', ARGV[3])
redis.call('HSET', KEYS[2], id, #ARGV[3])
redis.call('INCRBY', KEYS[3], #ARGV[3])
for place = 1, 3 do
  redis.call('EXPIRE', KEYS[place], ARGV[5])
end
return id
