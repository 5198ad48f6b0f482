-- What all scripts of the queue share. KEYS[1] begins the names of all keys; docs/design/jobs-redis.md has them.
-- Every script runs as one: nobody else sees what is between its first and last call.
local P = KEYS[1]
local call, sub, insert = redis.call, string.sub, table.insert
local KILLS, MOST_FAILURES, STEP = 3, 10, 1000

local function system_us()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

local function now_us() return system_us() + tonumber(call('HGET', P .. ':n', 'offset') or 0) end

-- Whether the time may be acted upon: when it is not what the caller expects, who of the two is wrong is found
-- out first. ARGV: time, epoch, by how much they may differ.
local function is_expected(now, epoch)
  return ARGV[2] ~= epoch or math.abs(now - ARGV[1]) < tonumber(ARGV[3])
end

local function digits(number) return string.format('%016.0f', number) end

-- A list in parts that a call can take as its arguments, each a multiple of two long.
local function in_parts(list, act)
  local count = #list
  if count <= STEP then
    if count > 0 then act(unpack(list)) end
    return
  end
  for first = 1, count, STEP do act(unpack(list, first, math.min(first + STEP - 1, count))) end
end

local function lane(priority, kind) return P .. ':q:' .. priority .. ':' .. kind end

local function wake(kind)
  local key = P .. ':wake:' .. kind
  if call('LLEN', key) == 0 then call('RPUSH', key, '1') end
end

local function total(kind, what, count) call('HINCRBY', P .. ':totals', what .. ':' .. kind, count) end

local function more(field, count) call('HINCRBY', P .. ':n', field, count) end
