-- What happens to jobs. Goes on from base.lua.
-- held: token(16) priority(1) attempt:kills:kind -> started(16) id(36)...
-- Jobs of one claim that are alike share an entry, so that 250 that end together cost what one does.
local function parse_held(field)
  local attempt, kills, kind = string.match(field, '^(%d+):(%d+):(.*)$', 18)
  return {field = field, token = sub(field, 1, 16), priority = sub(field, 17, 17),
          attempt = tonumber(attempt), kills = tonumber(kills), kind = kind}
end

local function place_in(value, id)
  local from = 17
  while true do
    local at = string.find(value, id, from, true)
    if not at then return nil end
    if (at - 17) % 36 == 0 and #id == 36 then return at end
    from = at + 1
  end
end

-- The entry that has a job, if one does: what it says, its value, and where in that the id is.
local function held_by(session, id)
  local all = call('HGETALL', P .. ':held:' .. session)
  for i = 1, #all, 2 do
    local at = place_in(all[i + 1], id)
    if at then
      local job = parse_held(all[i])
      job.started = sub(all[i + 1], 1, 16)
      return job, all[i + 1], at
    end
  end
end

local function let_go(session, field, value, at)
  local rest = sub(value, 1, at - 1) .. sub(value, at + 36)
  if #rest == 16 then call('HDEL', P .. ':held:' .. session, field)
  else call('HSET', P .. ':held:' .. session, field, rest) end
end

local function tries_of(id)
  local attempts, kills = string.match(call('HGET', P .. ':tries', id) or '0:0', '^(%d+):(%d+)$')
  return tonumber(attempts), tonumber(kills)
end

-- Its deadline counts again, as it has to start again.
local function back_to_deadline(id)
  local deadline = call('HGET', P .. ':deadline_of', id)
  if deadline then call('ZADD', P .. ':deadlines', deadline, id) end
end

local function make_ready(id, priority, kind, is_suspect)
  if is_suspect then
    call('RPUSH', P .. ':s:' .. kind, id)
    more('suspects', 1)
  else
    call('RPUSH', lane(priority, kind), id)
  end
  wake(kind)
end

local function add_failure(id, packed)
  local before = call('HGET', P .. ':failures', id) or ''
  local all = before .. string.format('%08d', #packed) .. packed
  local count, at = 0, 1
  while at <= #all do
    count = count + 1
    at = at + 8 + tonumber(sub(all, at, at + 7))
  end
  if count > MOST_FAILURES then all = sub(all, 9 + tonumber(sub(all, 1, 8))) end
  call('HSET', P .. ':failures', id, all)
end

local function killed(attempt, now, worker)
  return cmsgpack.pack({now * 1000, attempt, 'killed', 'its worker ' .. worker .. ' was lost', '', worker})
end

local function why_killed(kills, worker)
  return 'its worker ' .. worker .. ' was lost, for the ' .. kills .. '. time'
end

local function worker_of(session) return call('HGET', P .. ':workers', session) or '' end

local function because_of(id, state) return 'it comes after job ' .. id .. ', which is ' .. state end

local function free_unique(id)
  local key = call('HGET', P .. ':unique_of', id)
  if key then
    call('HDEL', P .. ':unique_of', id)
    if string.match(call('HGET', P .. ':unique', key) or '', '^[^ ]+') == id then call('HDEL', P .. ':unique', key) end
  end
end

-- dead, cancelled: end(16) id
local function forget(ids)
  for _, id in ipairs(ids) do
    local value = call('HGET', P .. ':end', id)
    if value then
      call('ZREM', P .. (sub(value, 33, 33) == 'd' and ':dead' or ':cancelled'), sub(value, 17, 32) .. id)
    end
  end
  for _, name in ipairs({'jobs', 'tries', 'failures', 'done', 'end', 'progress'}) do
    in_parts(ids, function(...) call('HDEL', P .. ':' .. name, ...) end)
  end
end

-- end: started(16) finished(16) state(1) worker NEWLINE why
local ended = {}
local function end_one(id, state, now, why, kind, started, worker)
  insert(ended, id)
  call('ZADD', P .. ':' .. state, 0, digits(now) .. id)
  call('HSET', P .. ':end', id, (started or digits(0)) .. digits(now) .. sub(state, 1, 1) .. (worker or '') .. '\n' .. why)
  call('HDEL', P .. ':progress', id)
  call('ZREM', P .. ':deadlines', id)
  call('HDEL', P .. ':deadline_of', id)
  total(kind, state, 1)
  free_unique(id)
end

-- A job that died or was cancelled, and what waits for it. A loop: chains may be longer than the stack.
local function end_job(id, state, now, ...)
  end_one(id, state, now, ...)
  local pending = {{id, state}}
  while #pending > 0 do
    local before, how = unpack(table.remove(pending))
    local followers = call('HGET', P .. ':afters', before)
    if followers then
      call('HDEL', P .. ':afters', before)
      for follower in string.gmatch(followers, '%S+') do
        local value = call('HGET', P .. ':blocked', follower)
        if value then
          call('HDEL', P .. ':blocked', follower)
          end_one(follower, 'cancelled', now, because_of(before, how), string.match(value, '^%d+:%d:%d+:(.*)$'))
          insert(pending, {follower, 'cancelled'})
        end
      end
    end
  end
end

-- blocked: left:priority:due:kind
local function unblock(id, now)
  local followers = call('HGET', P .. ':afters', id)
  if not followers then return end
  call('HDEL', P .. ':afters', id)
  for follower in string.gmatch(followers, '%S+') do
    local value = call('HGET', P .. ':blocked', follower)
    if value then
      local left, priority, due, kind = string.match(value, '^(%d+):(%d):(%d+):(.*)$')
      if tonumber(left) > 1 then
        call('HSET', P .. ':blocked', follower, (left - 1) .. ':' .. priority .. ':' .. due .. ':' .. kind)
      else
        call('HDEL', P .. ':blocked', follower)
        if tonumber(due) > now then
          call('ZADD', P .. ':due', due, follower)
          call('HSET', P .. ':late', follower, 'd' .. priority .. kind)
          wake(kind)
        else
          make_ready(follower, priority, kind, false)
        end
      end
    end
  end
end

-- Take a job that waits in a lane out of it: the list is long, so its entry stays and is passed over.
local function bury(id, priority, kind)
  local _, kills = tries_of(id)
  if kills > 0 and call('LREM', P .. ':s:' .. kind, 1, id) > 0 then
    more('suspects', -1)
    return
  end
  call('HINCRBY', P .. ':buried', id, 1)
  call('HINCRBY', P .. ':buried_in', priority .. ':' .. kind, 1)
end

local function unbury(id, priority, kind)
  if not call('HGET', P .. ':buried', id) then return false end
  for key, field in pairs({buried = id, buried_in = priority .. ':' .. kind}) do
    if call('HINCRBY', P .. ':' .. key, field, -1) <= 0 then call('HDEL', P .. ':' .. key, field) end
  end
  return true
end

local function drop_late(id)
  call('ZREM', P .. ':due', id)
  if sub(call('HGET', P .. ':late', id) or '', 1, 1) == 'r' then more('retry', -1) end
  call('HDEL', P .. ':late', id)
end

-- late: d|r priority(1) kind
local function move_due(now)
  local moved = 0
  while moved < 1000 do
    local ids = call('ZRANGE', P .. ':due', '-inf', digits(now), 'BYSCORE', 'LIMIT', 0, 100)
    if #ids == 0 then break end
    for _, id in ipairs(ids) do
      local value = call('HGET', P .. ':late', id)
      drop_late(id)
      local _, kills = tries_of(id)
      make_ready(id, sub(value, 2, 2), sub(value, 3), kills > 0)
    end
    moved = moved + #ids
  end
  return moved
end

local function locate(id)
  local value = call('HGET', P .. ':end', id)
  if value then return sub(value, 33, 33) == 'd' and 'dead' or 'cancelled', value end
  value = call('HGET', P .. ':done', id)
  if value then return 'completed', value end
  value = call('HGET', P .. ':late', id)
  if value then
    return sub(value, 1, 1) == 'r' and 'retry' or 'queued', call('ZSCORE', P .. ':due', id)
  end
  value = call('HGET', P .. ':blocked', id)
  if value then return 'blocked', value end
  for _, session in ipairs(call('HKEYS', P .. ':sessions')) do
    local job, entry, at = held_by(session, id)
    if job then return 'running', job.token .. job.started .. sub(job.field, 17), session, job, entry, at end
  end
  if call('HEXISTS', P .. ':jobs', id) == 1 then return 'queued', '' end
end

local function expire(now)
  local ids = call('ZRANGE', P .. ':deadlines', '-inf', digits(now), 'BYSCORE', 'LIMIT', 0, 1000)
  local count = 0
  for _, id in ipairs(ids) do
    call('ZREM', P .. ':deadlines', id)
    local state = locate(id)
    if state == 'queued' or state == 'retry' or state == 'blocked' then
      local spec = cmsgpack.unpack(call('HGET', P .. ':jobs', id))
      local kind, priority = spec[2], string.format('%d', spec[4])
      if call('HEXISTS', P .. ':late', id) == 1 then drop_late(id)
      elseif state == 'blocked' then call('HDEL', P .. ':blocked', id)
      else bury(id, priority, kind) end
      local attempts = tries_of(id)
      local why = 'it was not started before its deadline'
      add_failure(id, cmsgpack.pack({now * 1000, attempts, 'expired', why, '', ''}))
      end_job(id, 'dead', now, why, kind)
      count = count + 1
    end
  end
  return count
end
