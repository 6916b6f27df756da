-- due.lua: gives out the timers of a shard whose time has come. Each comes again after a while, until done.
-- KEYS: 1 due
-- ARGV: 1 now (ms), 2 how many, 3 when they come again (ms)
-- Returns: {name, score (ms), …}
-- Compares: nothing. A timer that is out has "~" before its name: a mark that is made meanwhile is another member,
--   so none is lost.
local out, seen = {}, {}
local l = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for i = 1, #l, 2 do
  local name = string.gsub(l[i], '^~', '')
  redis.call('ZREM', KEYS[1], l[i])
  redis.call('ZADD', KEYS[1], ARGV[3], '~' .. name)
  if not seen[name] then
    seen[name] = true
    out[#out + 1] = name
    out[#out + 1] = l[i + 1]
  end
end
return out
