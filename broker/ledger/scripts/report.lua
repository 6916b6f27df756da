-- report.lua: what a device holds.
-- KEYS: 1 era, 2 the device's row
-- ARGV: 3 namespace, 4 name, 5 era, 6 epoch, 7 version, 8 seen desired, 9 full (0, 1), 10 number of removed
--   applications, these, then for each application: name, state, revision, attempt, running, confirmed (0, 1),
--   reason, message, restarts, progress, traps
-- Returns: {status, changes}: "ok"; "stale": another era, nothing done
-- Compares: era; stamp (epoch, version) with that of the last full report and with that of each application:
--   what is not newer is left alone. When nothing is newer, changes are those of the first time.
local D, era, e, v = open(ARGV[3], ARGV[4]), ARGV[5], ARGV[6], ARGV[7]
if ERA == '' or era ~= ERA then return { 'stale', '' } end
local what = 'r:' .. e .. '.' .. v
if not newer(e, v, D.fe, D.fv) then return { 'ok', replay(D, what) } end
if below(D.e, e) then raise(e) end
local full, applied, grown, room = ARGV[9] == '1', false, false, false

local function word(x) return x ~= '' and x or nil end

-- take applies one application's word; w nil: it is gone.
local function take(name, r, w)
  if r.se and not newer(e, v, r.se, r.sv) then return end
  applied = true
  local o = r.w or {}
  local n = w or {}
  room = room or r.w and not w
  r.w = w
  -- After a full report its stamp covers all records.
  if full then r.se, r.sv = nil, nil else r.se, r.sv = e, v end
  local before = #D.changes
  settle(D, name, r)
  if #D.changes == before and (o.st ~= n.st or o.rv ~= n.rv or o.ru ~= n.ru or o.cf ~= n.cf or o.re ~= n.re) then
    feed(D, 'state', name, r.s, r.s, n.st, n.re, n.ms)
  end
  grown = grown or not r.m
  save(D, name, r)
end

local i = 11
local gone = {}
for _ = 1, tonumber(ARGV[10]) do
  gone[#gone + 1] = ARGV[i]
  i = i + 1
end
local rs, names, said = nil, nil, {}
if full then rs, names = records(D) end
while ARGV[i] do
  local name = ARGV[i]
  said[name] = true
  take(name, rs and (rs[name] or {}) or record(D, name), {
    st = ARGV[i + 1], rv = word(ARGV[i + 2]), at = ARGV[i + 3], ru = word(ARGV[i + 4]),
    cf = ARGV[i + 5] == '1' and 1 or nil, re = word(ARGV[i + 6]), ms = word(ARGV[i + 7]), rs = word(ARGV[i + 8]),
    pg = word(ARGV[i + 9]), tr = word(ARGV[i + 10]),
  })
  i = i + 11
end
if full then
  for _, name in ipairs(names) do
    if not said[name] then take(name, rs[name], nil) end
  end
else
  for _, name in ipairs(gone) do
    if not said[name] then take(name, record(D, name), nil) end
  end
end

-- What the device declined for want of a place is on its way again when one has become free.
if room then
  local all, order = records(D)
  for _, name in ipairs(order) do
    local r = all[name]
    if r.q and r.qr == 'TooManyApps' and r.d then
      r.q, r.qr, r.qm = nil, nil, nil
      D.bump, D.wake = true, true
      settle(D, name, r)
      save(D, name, r)
    end
  end
end

local row = P .. 'd:' .. D.id
if full then
  applied = true
  call('HSET', row, 'fe', e, 'fv', v)
end
if newer(e, v, D.re, D.rv) then
  applied = true
  call('HSET', row, 're', e, 'rv', v, 'sd', ARGV[8], 'ls', NOW)
end
show(D)
if not applied then return { 'ok', replay(D, what) } end
due('status', D.ns, D.name, '', NOW + @STATUS@)
if grown and call('HLEN', P .. 'x:' .. D.id) > @RECORDS@ then
  -- Too many: forget the stamps of applications that are gone.
  rs, names = records(D)
  for _, name in ipairs(names) do
    if not rs[name].m and not rs[name].w then call('HDEL', P .. 'x:' .. D.id, name) end
  end
end
return { 'ok', answer(D, what) }
