-- hooksettle.lua: an attempt of a delivery is over.
-- KEYS: 1 state, 2 line, 3 deliveries, 4 order, 5 the shard's due
-- ARGV: 1 id, 2 delivery (JSON), 3 its status, 4 next attempt (ms) or 0, 5 now (ms), 6 the attempt (JSON), 7 "good", "bad" or "",
--   8 most that are finished, 9 TTL (ms)
-- Returns: {failures in a row, since (ms) or ""}
-- Compares: the id with those that are there: what is gone stays gone
local call = redis.call
local was = call('HSTRLEN', KEYS[3], ARGV[1])
if was == 0 then return { 0, '' } end
call('HSET', KEYS[3], ARGV[1], ARGV[2])
call('HINCRBY', KEYS[1], 'size', #ARGV[2] - was)
if ARGV[3] == 'Waiting' then
  call('ZADD', KEYS[2], ARGV[4], ARGV[1])
else
  call('ZREM', KEYS[2], ARGV[1])
  call('HINCRBY', KEYS[1], ARGV[3] == 'Delivered' and 'ok' or 'bad', 1)
end
if ARGV[7] == 'good' then
  call('HDEL', KEYS[1], 'fails', 'since')
elseif ARGV[7] == 'bad' then
  call('HINCRBY', KEYS[1], 'fails', 1)
  call('HSETNX', KEYS[1], 'since', ARGV[5])
end
if ARGV[6] ~= '' then call('HSET', KEYS[1], 'last', ARGV[6]) end
call('HSET', KEYS[1], 'dirty', 1)
-- The oldest of those that are finished go.
local over = call('ZCARD', KEYS[4]) - call('ZCARD', KEYS[2]) - tonumber(ARGV[8])
if over > 0 then
  for _, id in ipairs(call('ZRANGE', KEYS[4], 0, 99)) do
    if over <= 0 then break end
    if not call('ZSCORE', KEYS[2], id) then
      call('HINCRBY', KEYS[1], 'size', -call('HSTRLEN', KEYS[3], id))
      call('HDEL', KEYS[3], id)
      call('ZREM', KEYS[4], id)
      over = over - 1
    end
  end
end
for i = 1, 4 do call('PEXPIRE', KEYS[i], ARGV[9]) end
return { tonumber(call('HGET', KEYS[1], 'fails') or '0'), call('HGET', KEYS[1], 'since') or '' }
