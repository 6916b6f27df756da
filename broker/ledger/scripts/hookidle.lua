-- hookidle.lua: who sent lets go of a webhook's line.
-- KEYS: 1 state, 2 line, 3 deliveries, 4 order, 5 the shard's due
-- ARGV: 1 token, 2 the line rests until (ms) or 0, 3 timer, 4 1: no timer for the line, 5 another time (ms) or 0
-- Returns: {how many wait}
-- Compares: the token: another one who sends goes on
local call = redis.call
if call('HGET', KEYS[1], 'token') == ARGV[1] then call('HDEL', KEYS[1], 'busy', 'token') end
if ARGV[4] ~= '1' then
  if tonumber(ARGV[2]) > 0 then call('HSET', KEYS[1], 'rest', ARGV[2]) else call('HDEL', KEYS[1], 'rest') end
end
local first = call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if first[2] and ARGV[4] ~= '1' then
  call('ZADD', KEYS[5], 'LT', math.max(tonumber(ARGV[2]), tonumber(first[2])), ARGV[3])
end
if tonumber(ARGV[5]) > 0 then call('ZADD', KEYS[5], 'LT', ARGV[5], ARGV[3]) end
return { call('ZCARD', KEYS[2]) }
