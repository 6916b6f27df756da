-- standing.lua: which of these devices of a shard no longer need their place in the application's budget:
-- those that are neither in flight nor pending. Reads only.
-- KEYS: 1 era, 2 the application's hash
-- ARGV: 3 namespace, 4 name, 5… names of devices
-- Returns: {names}
local app, out = ARGV[3] .. '/' .. ARGV[4], {}
for i = 5, #ARGV do
  if not call('ZSCORE', P .. 's:inflight:' .. app, ARGV[i]) and not call('ZSCORE', P .. 's:pending:' .. app, ARGV[i]) then
    out[#out + 1] = ARGV[i]
  end
end
return out
