-- ARGV: session, beats (-1: any). Gives nothing if it is not to be ended, or the ids of what it held.
local session = ARGV[1]
local beats = call('HGET', P .. ':sessions', session)
if not beats or (ARGV[2] ~= '-1' and beats ~= ARGV[2]) then return false end
local now, worker = now_us(), call('HGET', P .. ':workers', session) or ''
local lost = call('HGETALL', P .. ':held:' .. session)
local ids = {}
call('HDEL', P .. ':sessions', session)
call('HDEL', P .. ':workers', session)
call('HDEL', P .. ':leases', session)
call('HDEL', P .. ':suspect', session)
call('DEL', P .. ':held:' .. session, P .. ':revoked:' .. session)
local jobs = {}
for i = 1, #lost, 2 do
  insert(ids, lost[i])
  jobs[lost[i]] = parse_held(lost[i + 1])
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
    end_job(id, 'dead', now, 'killed', job.kind, job.started, worker)
  else
    back_to_deadline(id)
    make_ready(id, job.priority, job.kind, true)
  end
end
return ids
