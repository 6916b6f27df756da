-- release.lua: a session is over.
-- KEYS: 1 the device's lease, 2 the shard's leases
-- ARGV: 1 device (namespace/name), 2 epoch, 3 now (ms) when only a lease that ended shall go, else ""
-- Returns: {1 when the lease went}
-- Compares: epoch; the lease's end
local h = redis.call('HMGET', KEYS[1], 'e', 'x')
if not h[1] then
  -- What is left of a lease that went another way.
  if ARGV[3] ~= '' then redis.call('ZREM', KEYS[2], ARGV[1]) end
  return { 0 }
end
if h[1] ~= ARGV[2] or (ARGV[3] ~= '' and tonumber(h[2]) > tonumber(ARGV[3])) then return { 0 } end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return { 1 }
