-- Add what one instance has seen of its deployments, and return what all have told, in one step.
--
-- KEYS[1] is a hash of cooldowns: deployment id to the moment at which it ends. KEYS[2] is a hash of the use of one minute,
-- named in its field 'minute': 'r:' and 't:' before a deployment id are its requests and tokens. Both have one hash tag.
-- ARGV[1] is {uses {id, requests, tokens} ..., cooldowns {id, milliseconds} ...} in msgpack. Returns in the same form
-- {uses, cooldowns}, with the milliseconds that are left.

local floor, max = math.floor, math.max
local uses, cooldowns = unpack(cmsgpack.unpack(ARGV[1]))
local time = redis.call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)
local minute = tostring(floor(now / 60000))

if redis.call('HGET', KEYS[2], 'minute') ~= minute then
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[2], 'minute', minute)
  redis.call('PEXPIRE', KEYS[2], 120000)
end
for _, use in ipairs(uses) do
  redis.call('HINCRBY', KEYS[2], 'r:' .. use[1], use[2])
  redis.call('HINCRBY', KEYS[2], 't:' .. use[1], use[3])
end
for _, each in ipairs(cooldowns) do
  local known = tonumber(redis.call('HGET', KEYS[1], each[1]) or '0')
  redis.call('HSET', KEYS[1], each[1], string.format('%.0f', max(known, now + each[2])))
end

local used, order = {}, {}
local held = redis.call('HGETALL', KEYS[2])
for place = 1, #held, 2 do
  local kind, id = held[place]:sub(1, 2), held[place]:sub(3)
  if kind == 'r:' or kind == 't:' then
    if not used[id] then
      used[id] = {id, 0, 0}
      order[#order + 1] = used[id]
    end
    used[id][kind == 'r:' and 2 or 3] = tonumber(held[place + 1])
  end
end
local cooling, longest = {}, 0
held = redis.call('HGETALL', KEYS[1])
for place = 1, #held, 2 do
  local left = tonumber(held[place + 1]) - now
  if left > 0 then
    cooling[#cooling + 1] = {held[place], left}
    longest = max(longest, left)
  else
    redis.call('HDEL', KEYS[1], held[place])
  end
end
if longest > 0 then
  redis.call('PEXPIRE', KEYS[1], longest + 60000)
end
return cmsgpack.pack({order, cooling})
