-- ARGV: time, epoch, most; session, worker, keep, want, kinds, kind…, groups of completed, (entry, count, 0|1, id…,
--   result…)…, others, (id, entry, r|d|b|l, delay, failure)…
-- Gives LOST, or: now, epoch, refused, revoked, next due (-1: none), token, specs,
--   tries of those that are not the first (index, attempt, kills, …).
-- A call of Redis from here takes one to two microseconds, whatever it does: what is rare is asked for at once.
local MOST_LOOKS = 40 -- at the head of a lane for one that nobody has cancelled
local RARE = {'progress', 'deadline_of', 'unique_of', 'afters', 'deadlines', 'buried', 'tries', 'failures', 'limits', 'due'}
local numbers = call('HMGET', P .. ':n', 'token', 'turn', 'suspects', 'offset', 'epoch')
local now, epoch = system_us() + tonumber(numbers[4] or 0), numbers[5] or '0'
local is_sure = is_expected(now, epoch)
local session, who, keep, want = ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local held = P .. ':held:' .. session
if call('HINCRBY', P .. ':sessions', session, 1) == 1 then -- it began with 1
  call('HDEL', P .. ':sessions', session)
  return {'LOST'}
end
local stamp = digits(now)
local at = 8
local function next_argument() at = at + 1 return ARGV[at - 1] end

local kinds = {}
for i = 1, tonumber(next_argument()) do kinds[i] = next_argument() end

local rare = {P .. ':revoked:' .. session}
for i, name in ipairs(RARE) do rare[i + 1] = P .. ':' .. name end
local is_rare = call('EXISTS', unpack(rare)) > 0
local function has(name) return is_rare and call('EXISTS', P .. ':' .. name) == 1 end
if who == '' then who = worker_of(session) end

local refused, active = {}, {}
local function less(kind, count) active[kind] = (active[kind] or 0) - count end

-- 1. What completed.
local order, done = {}, {}
for _ = 1, tonumber(next_argument()) do
  local field, count, has_results = next_argument(), tonumber(next_argument()), next_argument() == '1'
  local job = parse_held(field)
  local value = call('HGET', held, field) or digits(0)
  local joined = table.concat(ARGV, '', at, at + count - 1)
  local rest
  local right = 0
  local said = stamp .. job.token .. sub(value, 1, 16) .. sub(field, 17) .. '\n' .. who .. '\n'
  local nothing = said .. '\192' -- msgpack's nil
  local function add(i)
    local k = #order + 1
    order[k] = ARGV[at + i]
    done[2 * k - 1], done[2 * k] = ARGV[at + i], has_results and said .. ARGV[at + count + i] or nothing
    right = right + 1
  end
  if sub(value, 17, 16 + #joined) == joined then -- those that started first, as they started: the usual case
    rest = sub(value, 1, 16) .. sub(value, 17 + #joined)
    for i = 0, count - 1 do add(i) end
  else
    rest = value
    for i = 0, count - 1 do
      local place = place_in(rest, ARGV[at + i])
      if place then
        rest = sub(rest, 1, place - 1) .. sub(rest, place + 36)
        add(i)
      else
        insert(refused, ARGV[at + i])
      end
    end
  end
  at = at + (has_results and 2 * count or count)
  if right > 0 then
    if #rest == 16 then call('HDEL', held, field) else call('HSET', held, field, rest) end
    total(job.kind, 'completed', right)
    less(job.kind, right)
    if job.kills > 0 then call('HDEL', P .. ':suspect', session) end
  end
end
if #order > 0 then
  call('HSET', P .. ':done', unpack(done))
  local kept = call('RPUSH', P .. ':doneq', unpack(order))
  if has('progress') then call('HDEL', P .. ':progress', unpack(order)) end
  if has('deadline_of') then call('HDEL', P .. ':deadline_of', unpack(order)) end
  if has('unique_of') then
    for _, id in ipairs(order) do free_unique(id) end
  end
  if has('afters') then
    for _, id in ipairs(order) do unblock(id, now) end
  end
  if kept > keep then
    local old = call('LPOP', P .. ':doneq', math.min(kept - keep, STEP))
    call('HDEL', P .. ':jobs', unpack(old))
    call('HDEL', P .. ':done', unpack(old))
    if has('tries') then call('HDEL', P .. ':tries', unpack(old)) end
    if has('failures') then call('HDEL', P .. ':failures', unpack(old)) end
  end
end

-- 2. What failed, or is given back, or was lost by a part of the worker.
local n_others = tonumber(next_argument())
is_rare = is_rare or n_others > 0
for _ = 1, n_others do
  local id, field, act = next_argument(), next_argument(), next_argument()
  local delay, failure = tonumber(next_argument()), next_argument()
  local value = call('HGET', held, field)
  local place = value and place_in(value, id)
  if not place then
    insert(refused, id)
  else
    local job = parse_held(field)
    local kind, attempts, kills, started = job.kind, job.attempt, job.kills, sub(value, 1, 16)
    let_go(session, field, value, place)
    less(kind, 1)
    if kills > 0 then call('HDEL', P .. ':suspect', session) end
    call('HDEL', P .. ':progress', id)
    if act == 'b' then
      attempts = attempts - 1
    elseif act == 'l' then
      kills = kills + 1
      if kills >= KILLS then act = 'd' end
      if failure == '' then failure = killed(job.attempt, now, who) end
    else
      total(kind, 'failed', 1)
    end
    call('HSET', P .. ':tries', id, attempts .. ':' .. kills)
    if failure ~= '' then add_failure(id, failure) end
    if act ~= 'd' then back_to_deadline(id) end
    if act == 'r' then
      total(kind, 'retried', 1)
      more('retry', 1)
      call('ZADD', P .. ':due', digits(now + delay), id)
      call('HSET', P .. ':late', id, 'r' .. job.priority .. kind)
    elseif act == 'd' then
      local why = kills > job.kills and why_killed(kills, who) or failure ~= '' and cmsgpack.unpack(failure)[4] or ''
      end_job(id, 'dead', now, why, kind, started, who)
    else
      if act == 'b' and kills == 0 then call('LPUSH', lane(job.priority, kind), id) wake(kind)
      else make_ready(id, job.priority, kind, kills > 0) end
    end
  end
end

-- 3. What time brings.
local first = is_rare and call('ZRANGE', P .. ':due', 0, 0, 'WITHSCORES') or {}
local next_due, has_moved = -1, n_others > 0
if first[2] then
  if tonumber(first[2]) <= now and is_sure then
    has_moved = move_due(now) > 0 or has_moved
    first = call('ZRANGE', P .. ':due', 0, 0, 'WITHSCORES')
  end
  -- More may be due than is moved at once; where the clock is in doubt, nobody is told to come soon.
  if first[2] then next_due = math.max(is_sure and 0 or -1, tonumber(first[2]) - now) end
end
if is_sure and has('deadlines') then expire(now) end

local function is_waited_for(kind)
  return call('EXISTS', lane(0, kind), lane(1, kind), lane(2, kind), lane(3, kind)) > 0
end

-- 4. Claims.
local token, specs, tries = '', {}, {}
local ids = {} -- what is claimed
if want > 0 and #kinds > 0 then
  local suspects = tonumber((has_moved and call('HGET', P .. ':n', 'suspects') or numbers[3]) or 0)
  local turn = tonumber(numbers[2] or 0)
  token = digits(tonumber(numbers[1] or 0) + 1)
  local alike = {} -- by what the session's entry says of them
  local has_buried, has_tries = has('buried'), has('tries')

  -- How many more of a kind may start; none is said for any number. Of rates: what the buckets hold.
  local free, buckets, rates, rooms = {}, {}, {}, {}
  if has('limits') then
    for _, kind in ipairs(kinds) do
      local rate, burst, most = string.match(call('HGET', P .. ':limits', kind) or '', '^(%S+) (%S+) (%d+)$')
      if rate then
        local room = want
        if tonumber(most) > 0 then
          room = tonumber(most) - tonumber(call('HGET', P .. ':active', kind) or 0) - (active[kind] or 0)
        end
        if tonumber(rate) > 0 then
          local there, filled = string.match(call('HGET', P .. ':bucket', kind) or '', '^(%S+) (%d+)$')
          burst = tonumber(burst)
          if burst == 0 then burst = math.max(1, tonumber(rate)) end
          there = there and math.min(burst, there + math.max(0, now - filled) * rate / 1000000) or burst
          buckets[kind] = there
          rates[kind], rooms[kind] = tonumber(rate), room
          -- A millionth of a token: rounding must not make a waiter come twice.
          room = math.min(room, math.floor(there + 0.000001))
        end
        free[kind] = math.max(0, room)
      end
    end
  end

  local function room(kind) return math.min(want - #ids, free[kind] or want) end

  local function hold(id, priority, kind)
    local attempts, kills = 0, 0
    if has_tries then attempts, kills = tries_of(id) end
    local i = #ids + 1
    ids[i] = id
    local meta = priority .. (attempts + 1) .. ':' .. kills .. ':' .. kind
    local group = alike[meta]
    if group then group[#group + 1] = id else alike[meta] = {id} end
    if attempts > 0 or kills > 0 then
      insert(tries, i)
      insert(tries, attempts + 1)
      insert(tries, kills)
    end
    active[kind] = (active[kind] or 0) + 1
    if free[kind] then free[kind] = free[kind] - 1 end
    if buckets[kind] then
      buckets[kind] = buckets[kind] - 1
      rooms[kind] = rooms[kind] - 1
    end
  end

  -- Heads of a lane that nobody has cancelled.
  local function heads_of(priority, kind, count)
    local key = lane(priority, kind)
    if has_buried then count = math.max(count, 100) end
    for _ = 1, MOST_LOOKS do
      local found = call('LRANGE', key, 0, count - 1)
      if not has_buried or #found == 0 then return found end
      local graves, left, removed = call('HMGET', P .. ':buried', unpack(found)), {}, 0
      for i, id in ipairs(found) do
        left[id] = left[id] or tonumber(graves[i] or 0)
        if left[id] > 0 then -- of two entries of a job that was requeued, the first is the one to pass over
          left[id] = left[id] - 1
          call('LREM', key, 1, id)
          unbury(id, priority, kind)
          removed = removed + 1
        end
      end
      if removed == 0 then return found end
    end
    next_due = 0 -- to go on with: nobody else is held up while a million that were cancelled are passed over
    return {}
  end

  -- A suspect, if none is held: the one asked for first.
  if suspects > 0 and call('HEXISTS', P .. ':suspect', session) == 0 then
    local first, of
    for _, kind in ipairs(kinds) do
      local head = room(kind) > 0 and call('LINDEX', P .. ':s:' .. kind, 0)
      if head and (not first or head < first) then first, of = head, kind end
    end
    if first then
      call('LPOP', P .. ':s:' .. of)
      more('suspects', -1)
      local spec = cmsgpack.unpack(call('HGET', P .. ':jobs', first))
      hold(first, string.format('%d', spec[4] or 2), of)
      call('HSET', P .. ':suspect', session, first)
    end
  end

  local from_lanes = turn - #ids
  local lanes = {} -- those that have something, the highest priority first
  -- Nearly all jobs are of medium priority: of the other lanes it is asked at once whether there is any.
  local others = {}
  for _, kind in ipairs(kinds) do
    for _, priority in ipairs({0, 1, 3}) do insert(others, lane(priority, kind)) end
  end
  local has_others = call('EXISTS', unpack(others)) > 0
  for priority = 0, 3 do
    for _, kind in ipairs(kinds) do
      if room(kind) > 0 and (priority == 2 or has_others) then
        local heads = heads_of(priority, kind, room(kind))
        if #heads > 0 then insert(lanes, {priority = priority, kind = kind, heads = heads, taken = 0}) end
      end
    end
  end
  local function take(from)
    from.taken = from.taken + 1
    hold(from.heads[from.taken], from.priority, from.kind)
  end
  -- The lane whose next job was asked for first; ids rise with time.
  local function oldest(priority)
    local best
    for _, each in ipairs(lanes) do
      local head = (not priority or each.priority == priority) and each.heads[each.taken + 1]
      if head and room(each.kind) > 0 and (not best or head < best.heads[best.taken + 1]) then best = each end
    end
    return best
  end
  if #lanes == 1 then
    for _ = 1, math.min(#lanes[1].heads, room(lanes[1].kind)) do take(lanes[1]) end
  elseif #lanes > 1 then
    for _ = 1, math.floor((turn % 16 + want - #ids) / 16) do -- each sixteenth, whatever its priority
      local from = #ids < want and oldest()
      if from then take(from) end
    end
    local priority = 0
    while #ids < want and priority < 4 do
      local from = oldest(priority)
      if from then take(from) else priority = priority + 1 end
    end
  end
  for _, each in ipairs(lanes) do
    if each.taken > 0 then call('LTRIM', lane(each.priority, each.kind), each.taken, -1) end
  end

  for kind, there in pairs(buckets) do
    if there + 0.000001 < 1 and rooms[kind] > 0 and is_waited_for(kind) then
      local wait = math.ceil((1 - there) * 1000000 / rates[kind])
      if next_due < 0 or wait < next_due then next_due = wait end
    end
  end
  if #ids > 0 then
    specs = call('HMGET', P .. ':jobs', unpack(ids))
    for meta, group in pairs(alike) do call('HSET', held, token .. meta, stamp .. table.concat(group)) end
    call('HSET', P .. ':n', 'token', token, 'turn', from_lanes + #ids)
    if has('deadlines') then call('ZREM', P .. ':deadlines', unpack(ids)) end
    for kind, there in pairs(buckets) do
      call('HSET', P .. ':bucket', kind, string.format('%.6f ', math.max(0, there)) .. stamp)
    end
    if #ids >= want then -- whoever else waits is told that there is more
      for _, each in ipairs(lanes) do wake(each.kind) end
    end
  end
end

for kind, count in pairs(active) do
  if count ~= 0 then call('HINCRBY', P .. ':active', kind, count) end
  -- Who gives up a place of a limit and takes no other (it drains, or has no room) leaves it to others.
  if count < 0 and has('limits') and call('HEXISTS', P .. ':limits', kind) == 1
    and (is_waited_for(kind) or call('EXISTS', P .. ':s:' .. kind) == 1) then wake(kind) end
end
local revoked = {}
if has('revoked:' .. session) then
  revoked = call('SMEMBERS', P .. ':revoked:' .. session)
  call('DEL', P .. ':revoked:' .. session)
end
return {string.format('%.0f', now), epoch, refused, revoked,
        string.format('%.0f', next_due), token, specs, tries}
