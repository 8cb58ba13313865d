//! Requests to entries with all validation, entries to messages.

use std::time::Duration;

use bytes::Bytes;
use mediamesh_near::{Key, Pattern, Stored};
use mediamesh_proto::{
    Error, TenantId, Violations,
    cache::v1::{CountedSearch, Entry},
    time::{duration, std_duration},
};

use crate::{
    options::Options,
    popular::{Counted, MOST_ANSWERED, MOST_SEARCHERS, MOST_TIMES},
};

/// Wordings answered when a request does not say how many (S1-32).
const DEFAULT_POPULAR: usize = 100;

/// Collects what is wrong with one request.
pub(crate) struct Reader<'a> {
    options: &'a Options,
    tenant: TenantId,
    violations: Violations,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(options: &'a Options, tenant: TenantId) -> Self {
        Self {
            options,
            tenant,
            violations: Violations::new(),
        }
    }

    /// Ends the reading.
    ///
    /// Errors: `InvalidField` with everything that was wrong.
    pub(crate) fn finish(self) -> Result<(), Error> {
        self.violations.finish()
    }

    pub(crate) fn key(&mut self, field: &str, name: &str) -> Key {
        let limit = self.options.max_key_bytes;
        self.violations
            .check(name.is_empty() || name.len() > limit, field, || {
                format!("is {} bytes; must be 1 to {limit}", name.len())
            });
        Key {
            tenant: self.tenant,
            name: name.into(),
        }
    }

    pub(crate) fn batch(&mut self, field: &str, len: usize) {
        let limit = self.options.max_batch;
        self.violations.check(len > limit, field, || {
            format!("holds {len}; limit is {limit}")
        });
    }

    pub(crate) fn tags(&mut self, field: &str, tags: &[String]) {
        let limit = self.options.max_tag_bytes;
        for (index, tag) in tags.iter().enumerate() {
            self.violations.check(
                tag.is_empty() || tag.len() > limit,
                &format!("{field}[{index}]"),
                || format!("is {} bytes; must be 1 to {limit}", tag.len()),
            );
        }
    }

    pub(crate) fn prefix(&mut self, field: &str, prefix: &str) {
        let limit = self.options.max_key_bytes;
        self.violations.check(prefix.len() > limit, field, || {
            format!("is {} bytes; limit is {limit}", prefix.len())
        });
    }

    /// Names to be removed: those that start so, and those that match.
    pub(crate) fn patterns(&mut self, prefix: &str, pattern: &str) -> Vec<Pattern> {
        self.prefix("key_prefix", prefix);
        self.prefix("key_pattern", pattern);
        let read = Pattern::parse(pattern);
        self.violations.check(read.is_none(), "key_pattern", || {
            "ends with a \\ that takes nothing".to_owned()
        });
        let prefix = (!prefix.is_empty()).then(|| Pattern::prefix(prefix));
        let pattern = read.filter(|_| !pattern.is_empty());
        prefix.into_iter().chain(pattern).collect()
    }

    pub(crate) fn token(&mut self, token: i64, required: bool) {
        self.violations
            .check(token < 0 || (required && token == 0), "lease_token", || {
                "must be a token from GetEntry".to_owned()
            });
    }

    /// A wish to compute entries anew needs a lease to do so under.
    pub(crate) fn early_refresh(&mut self, wished: bool, has_lease: bool) {
        self.violations
            .check(wished && !has_lease, "early_refresh", || {
                "needs lease_ttl".to_owned()
            });
    }

    /// Reads a time that must not be negative, or zero if `positive`.
    pub(crate) fn time(
        &mut self,
        field: &str,
        value: Option<&mediamesh_proto::pbjson_types::Duration>,
        positive: bool,
    ) -> Option<Duration> {
        let value = value?;
        let time = std_duration(value);
        let negative = value.seconds < 0 || value.nanos < 0;
        self.violations
            .check(negative || (positive && time.is_zero()), field, || {
                match positive {
                    true => "must be longer than nothing",
                    false => "must not be negative",
                }
                .to_owned()
            });
        Some(time)
    }

    pub(crate) fn searches(&mut self, searches: Vec<CountedSearch>) -> Vec<Counted> {
        self.batch("searches", searches.len());
        let limit = self.options.max_key_bytes;
        let read = searches.into_iter().enumerate().map(|(index, search)| {
            let size = search.wording.len();
            let field = format!("searches[{index}].wording");
            self.violations
                .check(size == 0 || size > limit, &field, || {
                    format!("is {size} bytes; must be 1 to {limit}")
                });
            let times = u32::try_from(search.times).ok();
            let times = times.filter(|times| *times <= MOST_TIMES);
            let field = format!("searches[{index}].times");
            self.violations.check(times.is_none(), &field, || {
                format!("must be 1 to {MOST_TIMES}, or 0 for once")
            });
            Counted {
                wording: search.wording,
                searcher: search.searcher,
                times: times.unwrap_or_default().max(1),
            }
        });
        read.collect()
    }

    /// How many wordings are wanted.
    pub(crate) fn popular(&mut self, limit: i32) -> usize {
        self.number("limit", limit, DEFAULT_POPULAR, MOST_ANSWERED)
    }

    /// How many must have searched for them.
    pub(crate) fn searchers(&mut self, least: i32) -> usize {
        self.number("min_searchers", least, 1, MOST_SEARCHERS)
    }

    fn number(&mut self, field: &str, value: i32, default: usize, most: usize) -> usize {
        let number = usize::try_from(value).ok().filter(|number| *number <= most);
        self.violations.check(number.is_none(), field, || {
            format!("must be 1 to {most}, or 0 for {default}")
        });
        match number {
            None | Some(0) => default,
            Some(number) => number,
        }
    }

    pub(crate) fn entry(&mut self, field: &str, entry: Option<Entry>) -> (Key, Stored) {
        self.violations
            .check(entry.is_none(), field, || "is required".to_owned());
        let absent = entry.is_none();
        let entry = entry.unwrap_or_default();
        let key = match absent {
            true => Key {
                tenant: self.tenant,
                name: "".into(),
            },
            false => self.key(&format!("{field}.key"), &entry.key),
        };
        let value = (!entry.negative).then_some(entry.value);
        let size = value.as_ref().map_or(0, Bytes::len);
        let limit = self.options.max_value_bytes;
        self.violations
            .check(size > limit, &format!("{field}.value"), || {
                format!("is {size} bytes; limit is {limit}")
            });
        let (count, limit) = (entry.tags.len(), self.options.max_tags);
        let tags = format!("{field}.tags");
        self.violations.check(count > limit, &tags, || {
            format!("holds {count}; limit is {limit}")
        });
        self.tags(&tags, &entry.tags);
        let ttl = self
            .time(&format!("{field}.ttl"), entry.ttl.as_ref(), true)
            .unwrap_or(self.options.default_ttl());
        let stale = self
            .time(
                &format!("{field}.stale_ttl"),
                entry.stale_ttl.as_ref(),
                false,
            )
            .unwrap_or_default();
        // A copy: the message's bytes are part of a larger buffer that they would keep alive.
        let value = value.map(|value| Bytes::copy_from_slice(&value));
        let longest = self.options.max_ttl();
        let (ttl, stale) = (ttl.min(longest), stale.min(longest));
        (key, Stored::new(value, entry.tags.into(), ttl, stale))
    }
}

/// An entry as it is answered.
pub(crate) fn message(name: &str, entry: Stored) -> Entry {
    Entry {
        key: name.to_owned(),
        negative: entry.value.is_none(),
        ttl: Some(duration(entry.fresh_for())),
        stale_ttl: (entry.expires_at > entry.fresh_until)
            .then(|| duration(entry.remaining().saturating_sub(entry.fresh_for()))),
        tags: entry.tags.to_vec(),
        value: entry.value.unwrap_or_default(),
    }
}
