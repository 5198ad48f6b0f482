-- ARGV: name, version, set|drop, value, then what submit takes. Gives 1, or 0 if it has another version.
local cell = call('HGET', P .. ':cells', ARGV[1])
local version = cell and string.match(cell, '^(%d+):') or '0'
if version ~= ARGV[2] then return 0 end
if ARGV[3] == 'drop' then
  call('HDEL', P .. ':cells', ARGV[1])
else
  call('HSET', P .. ':cells', ARGV[1], string.format('%d', call('HINCRBY', P .. ':n', 'version', 1)) .. ':' .. ARGV[4])
end
for i = 1, #ARGV do ARGV[i] = ARGV[i + 4] end -- the rest is for submit.lua
