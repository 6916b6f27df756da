-- admit.lua: places in an application's budget.
-- KEYS: 1 the budget of (application, sequence)
-- ARGV: 1 now (ms), 2 limit, 3 until (ms), 4 how long the key lives (ms), 5 number of devices to free, these, then the
--   devices to admit
-- Returns: {admitted devices}
-- Compares: the number of places taken with the limit. Who has a place keeps it.
local b, limit, i, out = KEYS[1], tonumber(ARGV[2]), 6, {}
redis.call('ZREMRANGEBYSCORE', b, '-inf', ARGV[1])
for _ = 1, tonumber(ARGV[5]) do
  redis.call('ZREM', b, ARGV[i])
  i = i + 1
end
local n = redis.call('ZCARD', b)
while ARGV[i] do
  if redis.call('ZSCORE', b, ARGV[i]) then
    out[#out + 1] = ARGV[i]
  elseif n < limit then
    n = n + 1
    out[#out + 1] = ARGV[i]
  end
  if out[#out] == ARGV[i] then redis.call('ZADD', b, ARGV[3], ARGV[i]) end
  i = i + 1
end
if n > 0 then redis.call('PEXPIRE', b, ARGV[4]) end
return out
