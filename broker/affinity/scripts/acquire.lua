-- acquire.lua: a new session takes a device, from whoever had it.
-- KEYS: 1 the shard's era, 2 its epoch counter, 3 the device's lease, 4 the shard's leases
-- ARGV: 1 device (namespace/name), 2 instance, 3 now (ms), 4 end (ms), 5 prefix of the channels, 6 namespace, 7 name
-- Returns: {epoch, era, or ""}
-- Compares: nothing: the newest epoch wins. The owner before is told.
local was = redis.call('HGET', KEYS[3], 'i')
local epoch = redis.call('INCR', KEYS[2])
redis.call('HSET', KEYS[3], 'i', ARGV[2], 'e', epoch, 'x', ARGV[4], 's', ARGV[3])
redis.call('ZADD', KEYS[4], ARGV[4], ARGV[1])
if was then redis.call('PUBLISH', ARGV[5] .. was, 'superseded ' .. ARGV[6] .. ' ' .. ARGV[7] .. ' ' .. epoch) end
return { tostring(epoch), redis.call('GET', KEYS[1]) or '' }
