-- Do one batch of one instance in one step: what calls give back, then what they take.
--
-- KEYS[1] is where the instance's last batch is remembered, KEYS[2..] are counters; all have one hash tag.
-- ARGV[1] is the number of the batch, ARGV[2] how long a slot lasts, ARGV[3] the batch in msgpack:
--   {releases {key, call}, corrections {key, window, slice, amount, taken}, renewals {key, call},
--    takes {call, {key, window, slice, limit, amount} ...}}
-- with keys by their place in KEYS and times in milliseconds. Returns in msgpack, for each take:
--   {granted, now, {used ...}, {wait ...}}
--
-- A sliding window is a string: msgpack of {slice number, amount, newest take, ...}, oldest slice first. The arithmetic is
-- that of access/rates/sliding_window.py. Parallel calls are a sorted set: call by the moment at which its slot lapses.

local REMEMBERED_MS = 3600000
local floor, max, min = math.floor, math.max, math.min

local last = redis.call('HMGET', KEYS[1], 'number', 'replies')
if last[1] == ARGV[1] then
  return last[2]
end

local slot_ms = tonumber(ARGV[2])
local releases, corrections, renewals, takes = unpack(cmsgpack.unpack(ARGV[3]))
local time = redis.call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)
local windows, running = {}, {}

local function open_window(key, window_ms, slice_ms)
  local window = windows[key]
  if window then
    return window
  end
  local slices, first, used = {}, 1, 0
  local packed = redis.call('GET', KEYS[key])
  if packed then
    slices = cmsgpack.unpack(packed)
    if #slices > 0 and slices[#slices] > now + slice_ms then
      slices = {} -- The clock went back. What was counted in the future would count for too long.
    end
    while slices[first] and slices[first + 2] + window_ms < now do
      first = first + 3
    end
    for place = first + 1, #slices, 3 do
      used = used + slices[place]
    end
  end
  window = {slices = slices, first = first, used = used, window_ms = window_ms, slice_ms = slice_ms, changed = false}
  windows[key] = window
  return window
end

local function add(window, amount)
  local slices = window.slices
  local number, size = floor(now / window.slice_ms), #slices
  if size >= window.first and slices[size - 2] >= number then
    slices[size - 1] = slices[size - 1] + amount
    slices[size] = max(slices[size], now)
  else
    slices[size + 1], slices[size + 2], slices[size + 3] = number, amount, now
  end
  window.used = window.used + amount
  window.changed = true
end

local function correct(window, amount, taken_ms)
  if amount > 0 then
    return add(window, amount)
  end
  local slices, number = window.slices, floor(taken_ms / window.slice_ms)
  for place = window.first, #slices, 3 do
    if slices[place] == number then
      local back = min(-amount, slices[place + 1])
      slices[place + 1] = slices[place + 1] - back
      window.used = window.used - back
      window.changed = true
      return
    end
  end
end

local function wait_of(window, amount, limit)
  local slices, lacking, wait = window.slices, window.used + amount - limit, 0
  for place = window.first, #slices, 3 do
    if lacking <= 0 then
      break
    end
    lacking = lacking - slices[place + 1]
    wait = slices[place + 2] + window.window_ms + 1 - now
  end
  return wait
end

local function running_in(key)
  local count = running[key]
  if not count then
    redis.call('ZREMRANGEBYSCORE', KEYS[key], '-inf', now)
    count = redis.call('ZCARD', KEYS[key])
    running[key] = count
  end
  return count
end

local function take(call, quotas)
  local granted, used, waits = 1, {}, {}
  for place, quota in ipairs(quotas) do
    local key, window_ms, slice_ms, limit, amount = unpack(quota)
    used[place] = window_ms > 0 and open_window(key, window_ms, slice_ms).used or running_in(key)
    if used[place] + amount > limit then
      granted = 0
    end
  end
  for place, quota in ipairs(quotas) do
    local key, window_ms, _, limit, amount = unpack(quota)
    local window = windows[key]
    waits[place] = 0
    if granted == 0 then
      if window_ms > 0 then
        waits[place] = wait_of(window, amount, limit)
      end
    else
      used[place] = used[place] + amount
      if window_ms > 0 then
        add(window, amount)
        waits[place] = window.slices[window.first + 2] + window_ms - now
      else
        redis.call('ZADD', KEYS[key], now + slot_ms, call)
        redis.call('PEXPIRE', KEYS[key], slot_ms)
        running[key] = used[place]
      end
    end
  end
  return {granted, now, used, waits}
end

for _, release in ipairs(releases) do
  redis.call('ZREM', KEYS[release[1]], release[2])
end
for _, correction in ipairs(corrections) do
  local key, window_ms, slice_ms, amount, taken_ms = unpack(correction)
  correct(open_window(key, window_ms, slice_ms), amount, taken_ms)
end
for _, renewal in ipairs(renewals) do
  redis.call('ZADD', KEYS[renewal[1]], now + slot_ms, renewal[2])
  redis.call('PEXPIRE', KEYS[renewal[1]], slot_ms)
end
local replies = {}
for place, asked in ipairs(takes) do
  replies[place] = take(asked[1], asked[2])
end

for key, window in pairs(windows) do
  if window.changed then
    local slices, size = window.slices, #window.slices
    if window.used == 0 then
      redis.call('DEL', KEYS[key])
    else
      local kept = window.first == 1 and slices or {unpack(slices, window.first, size)}
      redis.call('SET', KEYS[key], cmsgpack.pack(kept), 'PX', slices[size] + window.window_ms + 1 - now)
    end
  end
end
local packed = cmsgpack.pack(replies)
redis.call('HSET', KEYS[1], 'number', ARGV[1], 'replies', packed)
redis.call('PEXPIRE', KEYS[1], REMEMBERED_MS)
return packed
