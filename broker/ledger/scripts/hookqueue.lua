-- hookqueue.lua: a delivery joins a webhook's line, or only its log.
-- KEYS: 1 state, 2 line, 3 deliveries, 4 order, 5 the shard's due
-- ARGV: 1 id, 2 delivery (JSON), 3 now (ms), 4 timer, 5 most that wait, 6 most bytes, 7 TTL (ms), 8 "wait" or "log", 9 1: before all others, and though the line rests
-- Returns: {"queued"}, {"known"}, or {"full"}: it was not kept, and counted
-- Compares: the id with those that are there
local call = redis.call
local score, at = ARGV[3], tonumber(ARGV[3])
if ARGV[9] == '1' then
  score = 0
  call('HDEL', KEYS[1], 'rest')
else
  at = math.max(at, tonumber(call('HGET', KEYS[1], 'rest') or '0'))
end
if call('HEXISTS', KEYS[3], ARGV[1]) == 1 then
  -- Whoever came before may have ended before the timer was given out.
  if call('ZSCORE', KEYS[2], ARGV[1]) then call('ZADD', KEYS[5], 'LT', at, ARGV[4]) end
  return { 'known' }
end
local bytes = tonumber(call('HGET', KEYS[1], 'size') or '0')
local full = call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) or bytes + #ARGV[2] > tonumber(ARGV[6])
local out = 'queued'
if full then
  call('HINCRBY', KEYS[1], 'drop', 1)
  out = 'full'
else
  call('HSET', KEYS[3], ARGV[1], ARGV[2])
  call('HINCRBY', KEYS[1], 'size', #ARGV[2])
  call('ZADD', KEYS[4], ARGV[3], ARGV[1])
  if ARGV[8] == 'wait' then call('ZADD', KEYS[2], score, ARGV[1]) else call('HINCRBY', KEYS[1], 'bad', 1) end
end
call('HSET', KEYS[1], 'dirty', 1)
call('ZADD', KEYS[5], 'LT', at, ARGV[4])
for i = 1, 4 do call('PEXPIRE', KEYS[i], ARGV[7]) end
return { out }
