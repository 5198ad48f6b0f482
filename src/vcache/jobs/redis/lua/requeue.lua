-- ARGV: keep (0|1), (id, kind, priority)…. Gives the ids that are queued by it.
local done = {}
for at = 2, #ARGV, 3 do
  local id, kind, priority = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local state = locate(id)
  if state == 'dead' or state == 'cancelled' then
    call('HDEL', P .. ':end', id)
    call('ZREM', P .. ':' .. state, id)
  elseif state == 'retry' then
    drop_late(id)
  else
    state = nil
  end
  if state then
    local attempts, kills = tries_of(id)
    -- Somebody looked at it: it is no suspect any more, or dies at once of the count it had.
    if ARGV[1] == '0' then call('HDEL', P .. ':tries', id)
    elseif kills > 0 then call('HSET', P .. ':tries', id, attempts .. ':' .. (KILLS - 1)) end
    local is_suspect = ARGV[1] == '1' and kills > 0
    if is_suspect or not unbury(id, priority, kind) then make_ready(id, priority, kind, is_suspect)
    else wake(kind) end
    insert(done, id)
  end
end
return done
