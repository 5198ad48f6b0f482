-- ARGV: session, beats (-1: any). Gives nothing if it is not to be ended, or the ids of what it held.
local session = ARGV[1]
local beats = call('HGET', P .. ':sessions', session)
if not beats or (ARGV[2] ~= '-1' and beats ~= ARGV[2]) then return false end
local now, worker = now_us(), worker_of(session)
local lost = call('HGETALL', P .. ':held:' .. session)
local ids = {}
call('HDEL', P .. ':sessions', session)
call('HDEL', P .. ':workers', session)
call('HDEL', P .. ':leases', session)
call('HDEL', P .. ':suspect', session)
call('DEL', P .. ':held:' .. session, P .. ':revoked:' .. session)
local jobs = {}
for i = 1, #lost, 2 do
  local job, value = parse_held(lost[i]), lost[i + 1]
  job.started = sub(value, 1, 16)
  for at = 17, #value, 36 do
    local id = sub(value, at, at + 35)
    insert(ids, id)
    jobs[id] = job
  end
end
table.sort(ids) -- as they were asked for
for _, id in ipairs(ids) do
  local job = jobs[id]
  local kills = job.kills + 1
  call('HINCRBY', P .. ':active', job.kind, -1)
  call('HDEL', P .. ':progress', id)
  call('HSET', P .. ':tries', id, job.attempt .. ':' .. kills)
  add_failure(id, killed(job.attempt, now, worker))
  if kills >= KILLS then
    end_job(id, 'dead', now, why_killed(kills, worker), job.kind, job.started, worker)
  else
    back_to_deadline(id)
    make_ready(id, job.priority, job.kind, true)
  end
end
return ids
