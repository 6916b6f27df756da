-- prelude.lua: what every script that touches a device shares. It is put before each of them; the one
-- definition of the work sets is classify().
--
-- Every script: KEYS[1] is the shard's era key, ARGV[1] the prefix of the shard's keys ("wb:{03}:"), ARGV[2]
-- the caller's clock in ms. The other keys are made from the prefix, so they are in the slot of KEYS[1].
-- Unsigned 64-bit numbers are decimal strings and never become Lua numbers.
local P, NOW, TRACE = ARGV[1], tonumber(ARGV[2]), nil
if not NOW then -- the caller's work is traced: "<ms> <traceparent>"
  NOW, TRACE = string.match(ARGV[2], '^(%d+) (.+)$')
  NOW = tonumber(NOW)
end
local quiet = false -- of many devices: the status timer of each is none of the trace's
local call, enc, dec = redis.call, cjson.encode, cjson.decode
local ERA = call('GET', KEYS[1]) or ''

-- below: a < b, for decimal strings without leading zeros; '' is below everything else.
local function below(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

-- newer: stamp (e1, v1) comes after (e2, v2).
local function newer(e1, v1, e2, v2)
  if e1 ~= e2 then return below(e2, e1) end
  return below(v2, v1)
end

-- target: what the application "namespace/name" wants here; false when it wants nothing.
local targets = {}
local function target(app)
  local t = targets[app]
  if t == nil then
    local h = call('HMGET', P .. 'a:' .. app, 'seq', 'rev', 'st', 'dl', 'gone', 'stop')
    t = h[1] and not h[5] and { seq = h[1], rev = h[2], st = h[3], dl = tonumber(h[4]), stop = h[6] == '1' } or false
    targets[app] = t
  end
  return t
end

-- open reads a device's row. Fields that are missing are ''.
local function open(ns, name)
  local id = ns .. '/' .. name
  local h = call('HMGET', P .. 'd:' .. id, 'known', 'on', 'hold', 'appr', 'e', 'dc', 'pe', 'fe', 'fv', 're', 'rv')
  return {
    ns = ns, name = name, id = id, known = h[1] == '1', on = h[2] == '1', held = h[3] == '1' or h[4] ~= '1',
    e = h[5] or '', dc = h[6] or '', pe = h[7] or '', fe = h[8] or '', fv = h[9] or '', re = h[10] or '',
    rv = h[11] or '', bump = false, wake = false, changes = {},
  }
end

-- Records: one application on one device, JSON in the hash x:
--   m 1: the application selects the device        s, n  work set, since (ms)
--   d, ds, da  desired revision, state, attempt     u     deadline while in flight (ms)
--   xa  sequence whose deadline passed while offline
--   q, qr, qm  sequence that was refused or ran out of time, reason, message
--   w   reported: st, rv, at, ru, cf, re, ms, rs, pg, tr       se, sv  stamp of w (epoch, version)
--   tc  traps counted      rn 1: counted as running      fr  reason counted among the failures
--   tp  traceparent of the dispatch, while in flight, of the devices that its trace follows
local function record(D, name)
  local j = call('HGET', P .. 'x:' .. D.id, name)
  return j and dec(j) or {}
end

local function records(D)
  local flat, out, names = call('HGETALL', P .. 'x:' .. D.id), {}, {}
  for i = 1, #flat, 2 do
    out[flat[i]] = dec(flat[i + 1])
    names[#names + 1] = flat[i]
  end
  table.sort(names)
  return out, names
end

local function save(D, name, r)
  if next(r) == nil then
    call('HDEL', P .. 'x:' .. D.id, name)
  else
    call('HSET', P .. 'x:' .. D.id, name, enc(r))
  end
end

-- has: the device has what t wants.
local function has(w, t)
  if not w then return false end
  if t.st == 'Stopped' then return w.st == 'Stopped' and w.rv == t.rev end
  return (w.st == 'Running' and w.rv == t.rev and w.cf == 1) or (w.st == 'RolledBack' and w.ru == t.rev)
end

-- working: the device was told of t, whether it got there, is on its way or gave up.
local working_running = { Fetching = 1, Staged = 1, Starting = 1, Running = 1, Failed = 1, RolledBack = 1 }
local working_stopped = { Stopping = 1, Stopped = 1 }
local function working(w, t)
  if not w or w.rv ~= t.rev or w.at ~= t.seq then return false end
  return (t.st == 'Stopped' and working_stopped or working_running)[w.st] ~= nil
end

-- classify: the work set of a record, with reason and message when it is failed. '' when the application does
-- not select the device, or wants nothing yet.
local function classify(D, r, t)
  if not r.m or not t then return '' end
  local w = r.w
  if has(w, t) then return D.on and 'done' or 'lost' end
  if w and (w.st == 'Failed' or w.st == 'RolledBack') and w.rv == t.rev and w.at == t.seq then
    return 'failed', w.re, w.ms
  end
  if r.q == t.seq then return 'failed', r.qr, r.qm end
  if r.d == t.rev and r.ds == t.st and r.da == t.seq and r.xa ~= t.seq then return 'inflight' end
  if D.held then return 'held' end
  return D.on and 'pending' or 'away'
end

-- tally changes a counter of an application; one that falls to zero is removed.
local function tally(app, field, by)
  if call('HINCRBY', P .. 'c:' .. app, field, by) <= 0 then call('HDEL', P .. 'c:' .. app, field) end
end

-- due marks a timer; an earlier time wins.
local function due(kind, ns, name, device, at)
  local timer = kind .. '|' .. ns .. '|' .. name .. '|' .. device
  if TRACE and not (quiet and kind == 'status') then call('HSET', P .. 'due:tp', timer, TRACE) end
  call('ZADD', P .. 'due', 'LT', at, timer)
end

-- feed appends to the shard's feed.
local function feed(D, kind, app, from, to, state, reason, message)
  call('XADD', P .. 'feed', 'MAXLEN', '~', '@FEED@', '*', 't', NOW, 'd', D.id, 'k', kind, 'a', app or '', 'f', from or '',
    'o', to or '', 's', state or '', 'r', reason or '', 'm', message or '')
end

-- want sets (t) or removes (nil) a record's desired, and counts who refers to a revision's content. quiet:
-- the device has it already, nobody needs to wake.
local function want(D, name, r, t, quiet)
  local app, old, new = D.ns .. '/' .. name, r.d, t and t.rev or nil
  if old ~= new then
    if new then call('HINCRBY', P .. 'rc:' .. app, new, 1) end
    if old and call('HINCRBY', P .. 'rc:' .. app, old, -1) <= 0 then
      call('HDEL', P .. 'rc:' .. app, old)
      local now = target(app)
      if not now or now.rev ~= old then call('HDEL', P .. 'r:' .. app, old) end
    end
  end
  r.d, r.ds, r.da = new, t and t.st or nil, t and t.seq or nil
  D.bump = true
  if not quiet then D.wake = true end
end

-- settle brings sets, counters, deadlines, marks and feed in line with a record after anything that
-- classify() looks at has changed. The caller saves the record.
local function settle(D, name, r)
  local app, w = D.ns .. '/' .. name, r.w
  local t = target(app)
  if r.m and t then
    if D.on then r.xa = nil end
    -- Adoption: what the device has or works on was wanted before, even if the ledger lost that.
    if has(w, t) then
      if r.d ~= t.rev or r.ds ~= t.st then want(D, name, r, t, true) end
    elseif not r.d and working(w, t) then
      want(D, name, r, t, true)
    end
  end
  local to, reason, message = classify(D, r, t)
  local from = r.s or ''
  if from ~= to then
    local deadline = 'deadline|' .. D.ns .. '|' .. name .. '|' .. D.name
    if from ~= '' then
      call('ZREM', P .. 's:' .. from .. ':' .. app, D.name)
      tally(app, from, -1)
    end
    if to ~= '' then
      call('ZADD', P .. 's:' .. to .. ':' .. app, 0, D.name)
      tally(app, to, 1)
    end
    if from == 'inflight' then
      call('ZREM', P .. 'due', deadline)
      call('SADD', P .. 'rel:' .. app, D.name)
      if r.tp then call('HDEL', P .. 'due:tp', deadline) end
      r.u, r.tp = nil, nil
    end
    if to == 'inflight' then
      call('SREM', P .. 'rel:' .. app, D.name)
      r.u = r.u or NOW + t.dl
      call('ZADD', P .. 'due', r.u, deadline)
      if r.tp then call('HSET', P .. 'due:tp', deadline, r.tp) end
    end
    r.s, r.n = to ~= '' and to or nil, NOW
    D.changes[#D.changes + 1] = {
      app = name, from = from, to = to, state = w and w.st or nil, revision = w and w.rv or r.d, reason = reason,
      message = message,
    }
    feed(D, 'set', name, from, to, w and w.st, reason, message)
    due('advance', D.ns, name, '', NOW)
  end
  local rn = (r.m and D.on and w and (w.ru or w.st == 'Running')) and 1 or nil
  if r.rn ~= rn then
    tally(app, 'running', rn and 1 or -1)
    r.rn = rn
  end
  local fr = to == 'failed' and (reason or 'Unknown') or nil
  if r.fr ~= fr then
    if r.fr then tally(app, 'reason:' .. r.fr, -1) end
    if fr then tally(app, 'reason:' .. fr, 1) end
    r.fr = fr
  end
end

-- settle_all settles every record of a device.
local function settle_all(D)
  local rs, names = records(D)
  for _, name in ipairs(names) do
    settle(D, name, rs[name])
    save(D, name, rs[name])
  end
end

-- join and leave change whether an application selects a device. The caller settles and saves.
local function join(D, name, r)
  if r.m then return end
  r.m = 1
  call('ZADD', P .. 'm:' .. D.ns .. '/' .. name, 0, D.name)
end

local function leave(D, name, r)
  if not r.m then return end
  r.m, r.q, r.qr, r.qm, r.xa, r.tc = nil, nil, nil, nil, nil, nil
  call('ZREM', P .. 'm:' .. D.ns .. '/' .. name, D.name)
  if r.d then want(D, name, r, nil) end
  settle(D, name, r)
  r.n = nil
end

-- selected: a selection (JSON, decoded) selects a device with these labels.
local function selected(sel, name, labels)
  if sel.all then return true end
  if sel.names then
    for _, n in ipairs(sel.names) do
      if n == name then return true end
    end
    return false
  end
  if not sel.terms then return false end
  for _, t in ipairs(sel.terms) do
    local v, hit = labels[t.key], false
    for _, x in ipairs(t.values or {}) do
      if x == v then hit = true end
    end
    if t.op == 'In' and not hit then return false end
    if t.op == 'NotIn' and hit then return false end
    if t.op == 'Exists' and not v then return false end
    if t.op == 'DoesNotExist' and v then return false end
  end
  return true
end

local function labels(D)
  local f = call('GET', P .. 'f:' .. D.id)
  return f and dec(f).labels or {}
end

-- show makes a row visible; one whose Device object was never seen ends by itself.
local function show(D)
  if D.known then return end
  call('ZADD', P .. 'n:' .. D.ns, 0, D.name)
  call('HINCRBY', P .. 'ns', D.ns, 0)
  for _, k in ipairs({ 'd:', 'x:', 's:' }) do call('PEXPIRE', P .. k .. D.id, '@UNKNOWN@') end
end

-- raise keeps the epoch counter above every epoch seen: after a Redis that came back without its last
-- seconds, a live session's epoch may be ahead of it.
local function raise(epoch)
  if below(call('GET', P .. 'epoch') or '', epoch) then call('SET', P .. 'epoch', epoch) end
end

-- answer ends a device's change: version, wake, and the changes as JSON, kept under what for a replay.
local function answer(D, what)
  -- From a counter of the shard: a device that is deleted and made anew does not go back.
  if D.bump then call('HSET', P .. 'd:' .. D.id, 'v', call('INCR', P .. 'version')) end
  if D.wake then
    local o = call('HMGET', P .. 'o:' .. D.id, 'i', 'e')
    if o[1] then call('PUBLISH', 'wb:wake:' .. o[1], 'desired ' .. D.ns .. ' ' .. D.name .. ' ' .. (o[2] or '0')) end
  end
  if #D.changes == 0 then return '' end
  local j = enc(D.changes)
  if what then
    local k = P .. 're:' .. D.id
    if call('HLEN', k) >= @REPLAYS@ then call('DEL', k) end
    call('HSET', k, what, j)
    call('PEXPIRE', k, '@REPLAYTTL@')
  end
  return j
end

-- replay: the answer that was given before, or ''.
local function replay(D, what)
  return call('HGET', P .. 're:' .. D.id, what) or ''
end
