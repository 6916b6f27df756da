-- candidates.lua: devices of a shard that wait for a dispatch. Reads only.
-- KEYS: 1 era, 2 the application's hash
-- ARGV: 3 namespace, 4 name, 5 how many
-- Returns: {device, facts (JSON), session (JSON), …}
local out = {}
for _, n in ipairs(call('ZRANGE', P .. 's:pending:' .. ARGV[3] .. '/' .. ARGV[4], 0, tonumber(ARGV[5]) - 1)) do
  local id = ARGV[3] .. '/' .. n
  for _, x in ipairs({ n, call('GET', P .. 'f:' .. id) or '', call('GET', P .. 's:' .. id) or '' }) do out[#out + 1] = x end
end
return out
