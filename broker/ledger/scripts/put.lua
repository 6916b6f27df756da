-- put.lua: what a Device object says; its place in the label index and in the applications.
-- KEYS: 1 era, 2 the device's row
-- ARGV: 3 namespace, 4 name, 5 facts (JSON: board, labels, uid), 6 hold (0, 1), 7 approved (0, 1), then the
--   applications that the caller knows to select the device; they count only while the ledger has no target of them
-- Returns: {"ok"}
-- Compares: nothing; idempotent. Membership follows the selections that target.lua stored.
local D, facts = open(ARGV[3], ARGV[4]), dec(ARGV[5])
local f = call('GET', P .. 'f:' .. D.id)
local was, is = f and dec(f).labels or {}, facts.labels or {}
for k, v in pairs(was) do
  if is[k] ~= v then call('ZREM', P .. 'l:' .. D.ns .. ':' .. k .. '=' .. v, D.name) end
  if not is[k] then call('ZREM', P .. 'lk:' .. D.ns .. ':' .. k, D.name) end
end
for k, v in pairs(is) do
  call('ZADD', P .. 'l:' .. D.ns .. ':' .. k .. '=' .. v, 0, D.name)
  call('ZADD', P .. 'lk:' .. D.ns .. ':' .. k, 0, D.name)
end
local held = ARGV[6] == '1' or ARGV[7] ~= '1'
local news = f ~= ARGV[5] or held ~= D.held or D.pe ~= ERA
if not D.known then
  D.known = true
  call('ZADD', P .. 'n:' .. D.ns, 0, D.name)
  call('HINCRBY', P .. 'ns', D.ns, 1)
end
for _, k in ipairs({ 'd:', 'x:', 's:' }) do call('PERSIST', P .. k .. D.id) end
call('HSET', P .. 'd:' .. D.id, 'known', '1', 'hold', ARGV[6], 'appr', ARGV[7], 'pe', ERA)
call('SET', P .. 'f:' .. D.id, ARGV[5])
D.held = held
-- From now on desired is complete, and what the device holds beyond it may go.
if D.pe ~= ERA then D.wake = true end

local member = {}
for _, name in ipairs(call('SMEMBERS', P .. 'as:' .. D.ns)) do
  local sel = call('HGET', P .. 'a:' .. D.ns .. '/' .. name, 'sel')
  member[name] = sel and selected(dec(sel), D.name, is) and 1 or 0
end
for i = 8, #ARGV do
  -- Not in the ledger yet (it is being rebuilt): a member without a target, so that nobody takes the
  -- application off the device. An application that was just removed is none of these.
  if not member[ARGV[i]] and call('EXISTS', P .. 'a:' .. D.ns .. '/' .. ARGV[i]) == 0 then member[ARGV[i]] = 1 end
end
local rs, names = records(D)
for name in pairs(member) do
  if not rs[name] and member[name] == 1 then
    rs[name] = {}
    names[#names + 1] = name
  end
end
table.sort(names)
for _, name in ipairs(names) do
  local r = rs[name]
  if member[name] == 1 then join(D, name, r) else leave(D, name, r) end
  settle(D, name, r)
  save(D, name, r)
end
if news or #D.changes > 0 then
  feed(D, 'put')
  due('status', D.ns, D.name, '', NOW + @STATUS@)
end
answer(D)
return { 'ok' }
