-- hookagain.lua: a delivery that is finished joins the line again.
-- KEYS: 1 state, 2 line, 3 deliveries, 4 order, 5 the shard's due
-- ARGV: 1 id, 2 delivery (JSON), 3 now (ms), 4 timer, 5 TTL (ms)
-- Returns: {1 when it is there}
-- Compares: the id with those that are there
local call = redis.call
local was = call('HSTRLEN', KEYS[3], ARGV[1])
if was == 0 then return { 0 } end
call('HSET', KEYS[3], ARGV[1], ARGV[2])
call('HINCRBY', KEYS[1], 'size', #ARGV[2] - was)
call('HSET', KEYS[1], 'dirty', 1)
call('HDEL', KEYS[1], 'rest')
call('ZADD', KEYS[2], 0, ARGV[1])
call('ZADD', KEYS[5], 'LT', ARGV[3], ARGV[4])
for i = 1, 4 do call('PEXPIRE', KEYS[i], ARGV[5]) end
return { 1 }
