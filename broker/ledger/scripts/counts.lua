-- counts.lua: the counters of an application in one shard, and the first failed devices. Reads only.
-- KEYS: 1 era, 2 the application's hash
-- ARGV: 3 namespace, 4 name, 5 how many failed devices
-- Returns: {{field, number, …}, {device, revision, reason, message, …}}
local app, failing = ARGV[3] .. '/' .. ARGV[4], {}
local t = target(app)
for _, n in ipairs(call('ZRANGE', P .. 's:failed:' .. app, 0, tonumber(ARGV[5]) - 1)) do
  local D = open(ARGV[3], n)
  local r = record(D, ARGV[4])
  local _, reason, message = classify(D, r, t)
  for _, x in ipairs({ n, t and t.rev or '', reason or '', message or '' }) do failing[#failing + 1] = x end
end
return { call('HGETALL', P .. 'c:' .. app), failing }
