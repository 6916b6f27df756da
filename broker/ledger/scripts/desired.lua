-- desired.lua: what devices of one shard shall do. Reads only.
-- KEYS: 1 era
-- ARGV: 3… devices (namespace/name)
-- Returns: for each: {era, version, complete (0, 1), {name, revision, state, attempt, content, traceparent, …}, {names to keep}}
local out = {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local h = call('HMGET', P .. 'd:' .. id, 'v', 'pe')
  local ns, apps, keep = string.match(id, '^[^/]+'), {}, {}
  local flat = call('HGETALL', P .. 'x:' .. id)
  for j = 1, #flat, 2 do
    local r = dec(flat[j + 1])
    if r.d then
      for _, x in ipairs({ flat[j], r.d, r.ds, r.da, call('HGET', P .. 'r:' .. ns .. '/' .. flat[j], r.d) or '', r.tp or '' }) do
        apps[#apps + 1] = x
      end
    elseif r.m then
      keep[#keep + 1] = flat[j]
    end
  end
  out[#out + 1] = { ERA, h[1] or '0', ERA ~= '' and h[2] == ERA and 1 or 0, apps, keep }
end
return out
