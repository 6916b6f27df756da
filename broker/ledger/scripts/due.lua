-- due.lua: gives out the timers of a shard whose time has come. Each comes again after a while, until done.
-- KEYS: 1 due, 2 traces of timers
-- ARGV: 1 now (ms), 2 how many, 3 when they come again (ms)
-- Returns: {name, score (ms), traceparent, …}
-- Compares: nothing. A timer that is out has "~" before its name: a mark that is made meanwhile is another member,
--   so none is lost.
local out, seen, traced = {}, {}, redis.call('EXISTS', KEYS[2]) == 1

-- trace takes the traceparent of a timer, and keeps it with the timer that is out.
local function trace(name)
  if not traced then return '' end
  local tp = redis.call('HGET', KEYS[2], name)
  if not tp then return redis.call('HGET', KEYS[2], '~' .. name) or '' end
  redis.call('HDEL', KEYS[2], name)
  redis.call('HSET', KEYS[2], '~' .. name, tp)
  return tp
end

local l = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for i = 1, #l, 2 do
  local name = string.gsub(l[i], '^~', '')
  redis.call('ZREM', KEYS[1], l[i])
  redis.call('ZADD', KEYS[1], ARGV[3], '~' .. name)
  if not seen[name] then
    seen[name] = true
    out[#out + 1] = name
    out[#out + 1] = l[i + 1]
    out[#out + 1] = trace(name)
  end
end
return out
