-- ARGV: keep (0|1), (id, kind, priority)…. Gives the ids that are queued by it.
local now, done = now_us(), {}
for at = 2, #ARGV, 3 do
  local id, kind, priority = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local state, value = locate(id)
  local unique
  if state == 'dead' or state == 'cancelled' then
    local spec = cmsgpack.unpack(call('HGET', P .. ':jobs', id))
    if (spec[10] or '') ~= '' and (spec[11] or 0) == 0 then unique = spec[10] end
  end
  local ends = unique and string.match(call('HGET', P .. ':unique', unique) or '', ' (%d+)$')
  if ends and (ends == '0' or tonumber(ends) > now) then
    state = nil -- another one took its place
  elseif state == 'dead' or state == 'cancelled' then
    if unique then
      call('HSET', P .. ':unique', unique, id .. ' 0')
      call('HSET', P .. ':unique_of', id, unique)
    end
    call('HDEL', P .. ':end', id)
    call('ZREM', P .. ':' .. state, sub(value, 17, 32) .. id)
  elseif state == 'retry' then
    drop_late(id)
  else
    state = nil
  end
  if state then
    local _, kills = tries_of(id)
    local is_suspect = ARGV[1] == '1' and kills > 0
    if ARGV[1] == '0' then call('HDEL', P .. ':tries', id) end
    -- Rare enough to look for its old entry: nobody has to know then which of two counts.
    if unbury(id, priority, kind) then call('LREM', lane(priority, kind), 1, id) end
    make_ready(id, priority, kind, is_suspect)
    insert(done, id)
  end
end
return done
