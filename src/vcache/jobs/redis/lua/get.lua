-- ARGV: id…. Gives for each: nothing, or: spec, state, info, session, tries, progress, failures, worker.
local found = {}
for i, id in ipairs(ARGV) do
  local spec = call('HGET', P .. ':jobs', id)
  local state, info, session = locate(id)
  if spec and state then
    found[i] = {spec, state, info, session or '', call('HGET', P .. ':tries', id) or '0:0',
                call('HGET', P .. ':progress', id) or '', call('HGET', P .. ':failures', id) or '',
                session and worker_of(session) or ''}
  else
    found[i] = {}
  end
end
return found
