-- ARGV: why, (id, kind, priority)…. Gives the ids that are cancelled by it, also of those behind.
local now = now_us()
for at = 2, #ARGV, 3 do
  local id, kind, priority = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local state, _, session, job, entry, place = locate(id)
  local started, worker
  if state == 'running' then
    let_go(session, job.field, entry, place)
    call('HINCRBY', P .. ':active', kind, -1)
    call('SADD', P .. ':revoked:' .. session, id)
    if job.kills > 0 then call('HDEL', P .. ':suspect', session) end
    call('HSET', P .. ':tries', id, job.attempt .. ':' .. job.kills)
    started, worker = job.started, worker_of(session)
  elseif state == 'blocked' then
    call('HDEL', P .. ':blocked', id)
  elseif state == 'retry' or (state == 'queued' and call('HEXISTS', P .. ':late', id) == 1) then
    drop_late(id)
  elseif state == 'queued' then
    bury(id, priority, kind)
  else
    state = nil
  end
  if state then
    end_job(id, 'cancelled', now, ARGV[1], kind, started, worker)
  end
end
return ended
