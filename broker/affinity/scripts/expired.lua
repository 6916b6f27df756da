-- expired.lua: leases of a shard that nobody renewed. Reads only.
-- KEYS: 1 the shard's leases
-- ARGV: 1 prefix of the leases' keys, 2 now (ms), 3 how many
-- Returns: {device (namespace/name), instance, epoch, …}
local out = {}
for _, d in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])) do
  local h = redis.call('HMGET', ARGV[1] .. d, 'i', 'e')
  out[#out + 1] = d
  out[#out + 1] = h[1] or ''
  out[#out + 1] = h[2] or '0'
end
return out
