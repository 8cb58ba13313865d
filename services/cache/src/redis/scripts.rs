//! What must happen at once in Redis. Every script touches the keys of one slot.

use std::sync::LazyLock;

use redis::Script;

/// Takes a lease. KEYS: entry, lease. ARGV: milliseconds it lasts, stamp of the entry that the
/// caller has seen or nothing.
///
/// Answers {1, entry} if there is another entry than that, {2, milliseconds} if somebody holds the
/// lease, else {0, token}. Tokens are the microseconds of Redis' clock: they grow, also over a
/// restart, as no lease on a key is granted twice in one, and tell when the lease was taken.
const ACQUIRE: &str = r"
local stamp = redis.call('GETRANGE', KEYS[1], 2, 9)
if stamp ~= '' and stamp ~= ARGV[2] then
  return {1, redis.call('GET', KEYS[1])}
end
local left = redis.call('PTTL', KEYS[2])
if left > 0 then
  return {2, tostring(left)}
end
local time = redis.call('TIME')
local token = string.format('%.0f', time[1] * 1000000 + time[2])
redis.call('SET', KEYS[2], token, 'PX', ARGV[1])
return {0, token}
";

/// Stores an entry under a lease. KEYS: entry, lease. ARGV: token, entry, milliseconds it lives.
///
/// Answers 1, or 0 if the lease is lost.
const FILL: &str = r"
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1
";

/// Gives a lease back. KEYS: lease. ARGV: token. Answers 1, or 0 if it is lost.
const RELEASE: &str = r"#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
";

/// Removes an entry and its lease if it carries a tag. KEYS: entry, lease. ARGV: tag.
///
/// Answers 1 if it did. The places of the tags are those of the codec.
const REMOVE_TAGGED: &str = r"#!lua flags=allow-oom
local head = redis.call('GETRANGE', KEYS[1], 30, 33)
if #head < 4 then
  return 0
end
local length = struct.unpack('>I4', head)
if length == 0 then
  return 0
end
local tags = redis.call('GETRANGE', KEYS[1], 34, 33 + length)
local at = 1
while at < #tags do
  local size = struct.unpack('>I2', tags, at)
  if string.sub(tags, at + 2, at + 1 + size) == ARGV[1] then
    redis.call('UNLINK', KEYS[1], KEYS[2])
    return 1
  end
  at = at + 2 + size
end
return 0
";

/// Notes names under a tag. KEYS: tag. ARGV: now, milliseconds the last of them lives, then pairs of
/// when one expires (microseconds) and its name. Forgets names that have expired.
const TAG: &str = r"
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. ARGV[1])
for at = 3, #ARGV, 2 do
  redis.call('ZADD', KEYS[1], ARGV[at], ARGV[at + 1])
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
";

/// Forgets names under a tag that were not noted anew since they were read. KEYS: tag. ARGV: pairs
/// of score and name as they were read. Answers how many it forgot.
const UNTAG: &str = r"#!lua flags=allow-oom
local forgotten = 0
for at = 1, #ARGV, 2 do
  if redis.call('ZSCORE', KEYS[1], ARGV[at + 1]) == ARGV[at] then
    forgotten = forgotten + redis.call('ZREM', KEYS[1], ARGV[at + 1])
  end
end
return forgotten
";

pub(crate) static ACQUIRE_LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(ACQUIRE));
pub(crate) static FILL_UNDER_LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(FILL));
pub(crate) static RELEASE_LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(RELEASE));
pub(crate) static REMOVE_IF_TAGGED: LazyLock<Script> = LazyLock::new(|| Script::new(REMOVE_TAGGED));
pub(crate) static NOTE_TAG: LazyLock<Script> = LazyLock::new(|| Script::new(TAG));
pub(crate) static FORGET_TAG: LazyLock<Script> = LazyLock::new(|| Script::new(UNTAG));
