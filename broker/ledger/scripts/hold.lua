-- hold.lua: who ticks a shard.
-- KEYS: 1 the shard's holder
-- ARGV: 1 instance, 2 how long (ms)
-- Returns: {1 when the instance holds the shard, else 0}
-- Compares: the holder with the instance
local h = redis.call('GET', KEYS[1])
if h and h ~= ARGV[1] then return { 0 } end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return { 1 }
