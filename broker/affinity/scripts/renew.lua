-- renew.lua: a gateway process holds on to devices of one shard.
-- KEYS: 1 the shard's era, 2 its epoch counter, 3 its leases
-- ARGV: 1 prefix of the leases' keys, 2 instance, 3 end (ms), then for each device: namespace/name, epoch, last seen (ms)
-- Returns: {era, or "", numbers (from 1) of the devices that are lost}
-- Compares: instance and epoch with the lease. An epoch above the counter was given before Redis lost its last
--   seconds: the counter goes up to it, and the lease is good.
local out = { redis.call('GET', KEYS[1]) or '' }
-- Without an era there is nothing to hold on to: every session gets a new epoch.
local lost_all = out[1] == ''
local counter = tonumber(redis.call('GET', KEYS[2]) or '0')
local n = 0
for i = 4, #ARGV, 3 do
  n = n + 1
  local key = ARGV[1] .. ARGV[i]
  local epoch = tonumber(ARGV[i + 1])
  local h = redis.call('HMGET', key, 'i', 'e')
  if not lost_all and (h[1] == ARGV[2] and h[2] == ARGV[i + 1] or epoch > counter) then
    if epoch > counter then
      counter = epoch
      redis.call('SET', KEYS[2], ARGV[i + 1])
    end
    redis.call('HSET', key, 'i', ARGV[2], 'e', ARGV[i + 1], 'x', ARGV[3], 's', ARGV[i + 2])
    redis.call('ZADD', KEYS[3], ARGV[3], ARGV[i])
  else
    out[#out + 1] = n
  end
end
return out
