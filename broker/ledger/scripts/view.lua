-- view.lua: all that is known of devices of one shard. Reads only.
-- KEYS: 1 era
-- ARGV: 3… devices (namespace/name)
-- Returns: for each: {{field, value, …} of the row, facts (JSON), session (JSON), last seen (ms) or "",
--   {application, record (JSON), content of the desired revision, {field, value, …} of the target, its content, …}}
local out = {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local ns, apps = string.match(id, '^[^/]+'), {}
  local flat = call('HGETALL', P .. 'x:' .. id)
  for j = 1, #flat, 2 do
    local app, r = ns .. '/' .. flat[j], dec(flat[j + 1])
    local a = r.m and call('HGETALL', P .. 'a:' .. app) or {}
    local rev = r.m and call('HGET', P .. 'a:' .. app, 'rev')
    apps[#apps + 1] = flat[j]
    apps[#apps + 1] = flat[j + 1]
    apps[#apps + 1] = r.d and call('HGET', P .. 'r:' .. app, r.d) or ''
    apps[#apps + 1] = a
    apps[#apps + 1] = rev and call('HGET', P .. 'r:' .. app, rev) or ''
  end
  out[#out + 1] = {
    call('HGETALL', P .. 'd:' .. id), call('GET', P .. 'f:' .. id) or '', call('GET', P .. 's:' .. id) or '',
    call('HGET', P .. 'o:' .. id, 's') or '', apps,
  }
end
return out
