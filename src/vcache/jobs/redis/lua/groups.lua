-- ARGV: groups, of each: kind, priority, count, (id, spec)…: jobs that are no more than a line in a lane.
local at = 1
local function next_argument() at = at + 1 return ARGV[at - 1] end

for _ = 1, tonumber(next_argument()) do
  local kind, priority, count = next_argument(), next_argument(), tonumber(next_argument())
  local made = 0
  for first = 1, count, 500 do
    local n = math.min(500, count - first + 1)
    local ids, pairs_ = {}, {}
    for i = 1, n do
      ids[i] = ARGV[at]
      pairs_[2 * i - 1], pairs_[2 * i] = ARGV[at], ARGV[at + 1]
      at = at + 2
    end
    local known = call('HMGET', P .. ':jobs', unpack(ids))
    local is_known = false
    for i = 1, n do is_known = is_known or known[i] end
    if is_known then
      local new, new_pairs = {}, {}
      for i = 1, n do
        if not known[i] then
          insert(new, ids[i])
          insert(new_pairs, ids[i])
          insert(new_pairs, pairs_[2 * i])
        end
      end
      ids, pairs_ = new, new_pairs
    end
    if #ids > 0 then
      call('HSET', P .. ':jobs', unpack(pairs_))
      call('RPUSH', lane(priority, kind), unpack(ids))
      made = made + #ids
    end
  end
  if made > 0 then
    call('SADD', P .. ':kinds', kind)
    total(kind, 'submitted:' .. priority, made)
    wake(kind)
  end
end

