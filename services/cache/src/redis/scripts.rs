//! What must happen at once in Redis. Every script touches the keys of one slot.

use std::sync::LazyLock;

use redis::Script;

/// Takes a lease. KEYS: entry, lease. ARGV: milliseconds it lasts, stamp of the entry that the
/// caller has seen or nothing, name of the claim.
///
/// Answers {1, entry} if there is another entry than that, {2, milliseconds} if somebody holds the
/// lease, else {0, token}. Tokens are the microseconds of Redis' clock: they grow, also over a
/// restart, as no lease on a key is granted twice in one, and tell when the lease was taken. What is
/// stored is the token, `:` and the name of the claim.
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
redis.call('SET', KEYS[2], token .. ':' .. ARGV[3], 'PX', ARGV[1])
return {0, token}
";

/// Stores an entry under a lease. KEYS: entry, lease. ARGV: token, entry, milliseconds it lives.
///
/// Answers 1, or 0 if the lease is lost.
const FILL: &str = r"
local lease = redis.call('GET', KEYS[2])
if not lease or string.match(lease, '^[^:]*') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1
";

/// Gives a lease back. KEYS: lease. ARGV: token. Answers 1, or 0 if it is lost.
const RELEASE: &str = r"#!lua flags=allow-oom
local lease = redis.call('GET', KEYS[1])
if lease and string.match(lease, '^[^:]*') == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
";

/// Ends a lease that was granted to nobody who heard of it. KEYS: lease. ARGV: name of the claim.
///
/// Answers 1, or 0 if it was not granted, or somebody else has it.
const ABANDON: &str = r"#!lua flags=allow-oom
local lease = redis.call('GET', KEYS[1])
if lease and string.match(lease, ':(.*)$') == ARGV[1] then
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

/// Counts searches. KEYS: counts (sorted set), notes (hash). ARGV: wordings held at most, searchers
/// told apart, now in seconds, seconds after which counts are halved, milliseconds all of it lives
/// without a search, then wordings, each with who searched (16 hex digits)
/// and how often.
///
/// A note is what a count may be too high by, then `,` and a searcher, each. The note of no wording
/// is when counts were last halved. As the tallies in memory do: see `popular::tally`.
const COUNT: &str = r"
local room, most, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if redis.call('ZCARD', KEYS[1]) == 0 then
  redis.call('UNLINK', KEYS[2])
end
local halved = tonumber(redis.call('HGET', KEYS[2], '') or '')
if not halved or now - halved >= tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[2], '', ARGV[3])
end
if halved and now - halved >= tonumber(ARGV[4]) then
  local counts = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
  for at = 1, #counts, 2 do
    local count = counts[at + 1] / 2
    if count < 0.5 then
      redis.call('ZREM', KEYS[1], counts[at])
      redis.call('HDEL', KEYS[2], counts[at])
    else
      redis.call('ZADD', KEYS[1], count, counts[at])
      local note = redis.call('HGET', KEYS[2], counts[at]) or '0'
      local excess, searchers = string.match(note, '^([^,]*)(.*)$')
      local half = string.format('%.17g', tonumber(excess) / 2)
      redis.call('HSET', KEYS[2], counts[at], half .. searchers)
    end
  end
end
for at = 6, #ARGV, 3 do
  local wording, searcher = ARGV[at], ',' .. ARGV[at + 1]
  local note = redis.call('HGET', KEYS[2], wording) or '0'
  if redis.call('ZSCORE', KEYS[1], wording) then
    redis.call('ZINCRBY', KEYS[1], ARGV[at + 2], wording)
  else
    local excess = 0
    note = '0'
    if redis.call('ZCARD', KEYS[1]) >= room then
      local least = redis.call('ZPOPMIN', KEYS[1])
      redis.call('HDEL', KEYS[2], least[1])
      excess = tonumber(least[2])
      note = least[2]
    end
    redis.call('ZADD', KEYS[1], excess + ARGV[at + 2], wording)
  end
  local _, known = string.gsub(note, ',', ',')
  if known < most and not string.find(note, searcher, 1, true) then
    note = note .. searcher
  end
  redis.call('HSET', KEYS[2], wording, note)
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return 0
";

/// Reads the wordings counted most. KEYS: counts, notes. ARGV: how many, searchers a wording must
/// have. Answers wordings and their counts in turn, counted most first.
const POPULAR: &str = r"#!lua flags=no-writes
local found, first, wanted = {}, 0, tonumber(ARGV[1])
while #found < 2 * wanted do
  local counts = redis.call('ZREVRANGE', KEYS[1], first, first + 499, 'WITHSCORES')
  if #counts == 0 then
    break
  end
  for at = 1, #counts, 2 do
    local note = redis.call('HGET', KEYS[2], counts[at]) or '0'
    local _, searchers = string.gsub(note, ',', ',')
    if searchers >= tonumber(ARGV[2]) and #found < 2 * wanted then
      local excess = tonumber(string.match(note, '^[^,]*'))
      found[#found + 1] = counts[at]
      found[#found + 1] = string.format('%.0f', math.max(1, counts[at + 1] - excess))
    end
  end
  first = first + 500
end
return found
";

pub(crate) static ACQUIRE_LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(ACQUIRE));
pub(crate) static FILL_UNDER_LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(FILL));
pub(crate) static RELEASE_LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(RELEASE));
pub(crate) static ABANDON_LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(ABANDON));
pub(crate) static REMOVE_IF_TAGGED: LazyLock<Script> = LazyLock::new(|| Script::new(REMOVE_TAGGED));
pub(crate) static NOTE_TAG: LazyLock<Script> = LazyLock::new(|| Script::new(TAG));
pub(crate) static FORGET_TAG: LazyLock<Script> = LazyLock::new(|| Script::new(UNTAG));
pub(crate) static COUNT_SEARCHES: LazyLock<Script> = LazyLock::new(|| Script::new(COUNT));
pub(crate) static POPULAR_SEARCHES: LazyLock<Script> = LazyLock::new(|| Script::new(POPULAR));
