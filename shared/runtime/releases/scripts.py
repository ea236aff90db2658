"""What must be decided inside Redis, in one step."""

MOVE = """
local epoch = redis.call('HGET', KEYS[1], 'epoch') or '0'
if epoch ~= ARGV[1] then return {'epoch', epoch} end
for i = 3, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 0 then return {'missing', KEYS[i]} end
end
redis.call('DEL', KEYS[1])
for i = 7, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', '1000', '*',
           'change', ARGV[3], 'version', ARGV[4], 'reason', ARGV[5], 'by', ARGV[6],
           unpack(ARGV, 7))
redis.call('PUBLISH', ARGV[2], ARGV[4])
return {'moved', KEYS[1]}
"""
"""Replace the pointer if its epoch has not moved and all parts of the release exist.

KEYS: pointer, log, then the parts. ARGV: expected epoch, channel, change, version, reason, who,
then the pointer's new fields and values."""

PRUNE = """
for _, field in ipairs({'current', 'previous', 'canary'}) do
  if redis.call('HGET', KEYS[1], field) == ARGV[1] then return 0 end
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('UNLINK', unpack(KEYS, 3))
return 1
"""
"""Remove a version unless the pointer names it. KEYS: pointer, versions, then the parts."""
