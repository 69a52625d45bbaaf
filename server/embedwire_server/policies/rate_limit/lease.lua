-- Shared usage of the rate limits of one credential and modality, under one key.
--
-- KEYS[1]  the key
-- ARGV[1]  the request, in JSON; see redis_store.py
-- ARGV[2]  the time in seconds; only tests have it, in place of that of the server
--
-- A window has parts of equal length. A permit is counted in the part of the latest time at which it may be used, and a
-- part counts until a window after its end: so it counts at least as long as the upstream counts it.
--
-- Times are seconds. They never go back, also if the clock of the server does: `shift` is added then.

local VERSION = 1
local NONE = 1e-9 -- rounding errors of sums
local MIN_KEPT = 60
local REPORTS_KEPT = 120 -- a server repeats a report that was not answered within seconds

local request = cjson.decode(ARGV[1])

local function fresh(clock, since)
  return {v = VERSION, since = since, born = clock, last = clock, shift = 0, count = 0, back = 0, limits = {}, reports = {}}
end

local function stored()
  local raw = redis.pcall('GET', KEYS[1]) -- a table if it failed, or false
  local ok, state = pcall(cmsgpack.unpack, raw)
  if ok and type(state) == 'table' and state.v == VERSION then
    return state
  end
end

-- A limit has `index`, the numbers of its parts in ascending order, and `amount`, what was used in each.

local function counts_until(limit, i)
  return (limit.index[i] + 1) * limit.part + limit.window
end

local function forget(limit, now)
  local first = 1
  while limit.index[first] and counts_until(limit, first) <= now do
    first = first + 1
  end
  if first > 1 then
    local index, amount = {}, {}
    for i = first, #limit.index do
      index[i - first + 1], amount[i - first + 1] = limit.index[i], limit.amount[i]
    end
    limit.index, limit.amount = index, amount
  end
end

local function add(limit, part, amount)
  local i = #limit.index
  while i > 0 and limit.index[i] > part do
    i = i - 1
  end
  if i == 0 or limit.index[i] < part then
    i = i + 1
    table.insert(limit.index, i, part)
    table.insert(limit.amount, i, 0)
  end
  limit.amount[i] = limit.amount[i] + amount
end

local function used(limit, at)
  local total = 0
  for i = #limit.index, 1, -1 do
    if counts_until(limit, i) <= at then
      break
    end
    total = total + limit.amount[i]
  end
  return total
end

local function available_at(limit, start, amount, most)
  local at, excess, i = start, used(limit, start) + amount - most, 0
  while excess > NONE and i < #limit.index do
    i = i + 1
    local ends = counts_until(limit, i)
    if ends > start then
      at, excess = ends, excess - limit.amount[i]
    end
  end
  return at
end

local function limits_of(state, now)
  local found = {}
  for i, asked in ipairs(request.limits) do
    local limit = state.limits[asked.name] or {next = 0, index = {}, amount = {}}
    limit.window, limit.part = asked.window, asked.part
    state.limits[asked.name] = limit
    forget(limit, now)
    found[i] = limit
  end
  return found
end

-- Usage that a server had without permits. If it repeats the report, since it got no reply, only later usage is added.
local function report(state, now)
  local before = state.reports[request.server]
  local known = before and before.number == request.report and before.at or -1
  for name, usages in pairs(request.usage) do
    local limit = state.limits[name]
    for _, usage in ipairs(limit and usages or {}) do
      local at = now - usage[1]
      local part = math.floor(at / limit.part)
      if at > known and (part + 1) * limit.part + limit.window > now then
        add(limit, part, usage[2])
      end
    end
  end
  if next(request.usage) then
    for server, one in pairs(state.reports) do
      if one.at < now - REPORTS_KEPT then
        state.reports[server] = nil
      end
    end
    state.reports[request.server] = {number = request.report, at = now}
  end
end

local function first_permit(state, limits, now)
  local at, deciding = math.max(now, state.back), nil
  for i, asked in ipairs(request.limits) do
    local amount = asked.is_media and request.minutes or 1
    if amount > asked.amount then
      return nil, i
    end
    local allowed = available_at(limits[i], at, amount, asked.amount)
    if asked.spacing > 0 then
      allowed = math.max(allowed, limits[i].next - request.burst)
    end
    if allowed > at then
      at, deciding = allowed, i
    end
  end
  return at, deciding
end

local function permits_at(limits, at)
  local permits = request.requests
  for i, asked in ipairs(request.limits) do
    if not asked.is_media then
      permits = math.min(permits, asked.amount - used(limits[i], at))
    end
    if asked.spacing > 0 then
      local ahead = at + request.burst + request.lease - math.max(limits[i].next, at)
      permits = math.min(permits, ahead / asked.spacing + 1)
    end
  end
  return math.max(1, math.floor(permits + NONE))
end

local function take(limits, at, permits)
  local parts = {}
  for i, asked in ipairs(request.limits) do
    parts[i] = math.floor((at + request.lease) / limits[i].part)
    add(limits[i], parts[i], asked.is_media and request.minutes or permits)
    limits[i].next = math.max(limits[i].next, at) + permits * asked.spacing
  end
  return parts
end

local operations = {}

function operations.lease(state, now)
  local reply = {since = state.since, seen = state.count}
  if request.since ~= state.since then
    return reply -- the server reports its usage first
  end
  local limits = limits_of(state, now)
  report(state, now)
  local at, deciding = first_permit(state, limits, now)
  reply.permits, reply.limit, reply.wait = 0, deciding, at and at - now
  local settled = state.born + request.settling
  reply.back_off, reply.is_settling = math.max(0, state.back - now), now < settled
  -- Permits of a settling state end with it: later ones could exceed the limit with usage that is not reported yet.
  local ends = reply.is_settling and settled or math.huge
  if request.requests > 0 and at and at - now <= request.within and at < ends then
    reply.valid = math.min(request.lease, ends - at)
    reply.permits = permits_at(limits, at)
    reply.parts, reply.ends = take(limits, at, reply.permits), at + request.lease
  end
  return reply
end

function operations.settle(state, now)
  for i, change in ipairs(request.since == state.since and request.changes or {}) do
    local limit = state.limits[change.name]
    for j = 1, limit and #limit.index or 0 do
      if limit.index[j] == change.part then
        limit.amount[j] = math.max(0, limit.amount[j] + change.amount)
      end
    end
    if limit and now <= request.ends then -- else others have been spaced after it
      limit.next = limit.next + change.spacing * change.amount
    end
  end
  return {}
end

function operations.back_off(state, now)
  state.back = math.max(state.back, now + request.seconds)
  return {}
end

-- Seconds for which the state matters; drops limits without usage, which may be limits of earlier settings.
local function kept(state, now)
  local ends = math.max(now + MIN_KEPT, state.back)
  for name, limit in pairs(state.limits) do
    forget(limit, now)
    local last = #limit.index
    if last > 0 then
      ends = math.max(ends, counts_until(limit, last))
    elseif limit.next <= now then
      state.limits[name] = nil
    end
  end
  return ends - now
end

local time = redis.call('TIME')
local clock = tonumber(ARGV[2]) or (tonumber(time[1]) + tonumber(time[2]) / 1e6)

-- A restart from a snapshot, or a failover, goes back to an earlier state: a server has seen more operations then.
local function is_earlier(state)
  return request.since == state.since and (request.seen or 0) > (state.count or 0)
end

local function run(state, since)
  if is_earlier(state) then
    state = fresh(clock, since)
  end
  state.count = (state.count or 0) + 1
  state.shift = math.max(state.shift, state.last - clock)
  local now = clock + state.shift
  state.last = now
  local reply = operations[request.operation](state, now)
  return reply, math.ceil(kept(state, now) * 1000), cmsgpack.pack(state)
end

local since = time[1] .. '.' .. time[2]
local ok, reply, milliseconds, packed = pcall(run, stored() or fresh(clock, since), since)
if not ok then -- a state that this script has not written
  reply, milliseconds, packed = run(fresh(clock, since), since)
end
redis.call('SET', KEYS[1], packed, 'PX', milliseconds)
return cjson.encode(reply)
