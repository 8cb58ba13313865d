//! Names of keys in Redis.
//!
//! | key | holds |
//! |---|---|
//! | `<prefix>{<hash>}:e:<tenant>:<name>` | an entry |
//! | `<prefix>{<hash>}:l:<tenant>:<name>` | the token of the lease on it |
//! | `<prefix>{<hash>}:t:<tenant>:<tag>` | names of entries with the tag, by when they expire |
//! | `<prefix>{<hash>}:p:<tenant>:searches` | how often what was searched for |
//! | `<prefix>{<hash>}:q:<tenant>:searches` | by how many, and how exact that is |
//! | `<prefix>{feed}` | the feed |
//! | `<prefix>{<hash>}:u:<tenant>:<user>` | the sessions of a user by their handles |
//! | `<prefix>{<handle>}:o:<handle>` | tenant and user of a session; its braces hold 8 digits |
//! | `<prefix>{sweep}` | there while no process needs to sweep sessions |
//!
//! The hash is of tenant and name: an entry and its lease are in one slot of a cluster, so that one
//! script may touch both, and entries spread over all slots.

use mediamesh_near::{Key, Pattern};
use mediamesh_proto::{SessionHandle, TenantId};
use sha2::{Digest as _, Sha256};

/// Makes the names.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    fn name(&self, kind: char, tenant: TenantId, name: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(tenant.0.as_bytes());
        hash.update(name);
        let hash = hex::encode(&hash.finalize()[..4]);
        format!(
            "{}{{{hash}}}:{kind}:{}:{name}",
            self.prefix,
            tenant.0.simple()
        )
    }

    pub(crate) fn entry(&self, key: &Key) -> String {
        self.name('e', key.tenant, &key.name)
    }

    pub(crate) fn lease(&self, key: &Key) -> String {
        self.name('l', key.tenant, &key.name)
    }

    pub(crate) fn tag(&self, tenant: TenantId, tag: &str) -> String {
        self.name('t', tenant, tag)
    }

    /// All sessions of a user: one key, so that whatever is done to them is done at once.
    pub(crate) fn sessions(&self, tenant: TenantId, user: &str) -> String {
        self.name('u', tenant, user)
    }

    /// Whose a session is.
    pub(crate) fn session_owner(&self, handle: SessionHandle) -> String {
        let handle = handle.to_string();
        format!("{}{{{}}}:o:{handle}", self.prefix, &handle[..8])
    }

    /// Matches the sessions of every user, of one tenant or of all.
    pub(crate) fn matching_sessions(&self, tenant: Option<TenantId>) -> String {
        let tenant = tenant.map_or_else(
            || "*".to_owned(),
            |tenant| format!("{}:*", tenant.0.simple()),
        );
        format!("{}{{????????}}:u:{tenant}", self.prefix)
    }

    /// Whose turn it is to sweep sessions.
    pub(crate) fn session_sweep(&self) -> String {
        format!("{}{{sweep}}", self.prefix)
    }

    /// Where a tenant's searches are counted, and what is noted of them.
    pub(crate) fn searches(&self, tenant: TenantId) -> [String; 2] {
        ['p', 'q'].map(|kind| self.name(kind, tenant, "searches"))
    }

    pub(crate) fn feed(&self) -> String {
        format!("{}{{feed}}", self.prefix)
    }

    /// Matches entries and leases of a tenant whose name matches, as Redis writes patterns.
    pub(crate) fn matching(&self, tenant: TenantId, names: &Pattern) -> String {
        let mut pattern = format!("{}{{????????}}:[el]:{}:", self.prefix, tenant.0.simple());
        for (place, part) in names.parts().iter().enumerate() {
            if place > 0 {
                pattern.push('*');
            }
            for letter in part.chars() {
                if ['*', '?', '[', ']', '\\'].contains(&letter) {
                    pattern.push('\\');
                }
                pattern.push(letter);
            }
        }
        pattern
    }

    /// Matches entries and leases of every tenant.
    pub(crate) fn matching_everything(&self) -> String {
        format!("{}{{????????}}:[el]:*", self.prefix)
    }

    /// Whether a name that matched is an entry's.
    pub(crate) fn is_entry(&self, name: &str) -> bool {
        let rest = name.strip_prefix(self.prefix.as_str());
        rest.is_some_and(|rest| rest.get(10..13) == Some(":e:"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_and_its_lease_share_a_slot_and_names_are_taken_literally() {
        let keys = Keys::new("m:");
        let key = Key {
            tenant: TenantId(mediamesh_mesh::LOCAL_TENANT_ID),
            name: "a{b}*".into(),
        };
        let (entry, lease) = (keys.entry(&key), keys.lease(&key));
        assert_eq!(entry[..12], lease[..12]);
        assert!(entry.ends_with(":e:00000000000070008000000000000001:a{b}*"));
        assert!(keys.is_entry(&entry) && !keys.is_entry(&lease));
        let prefix = keys.matching(key.tenant, &Pattern::prefix("a{b}*"));
        assert!(prefix.ends_with(":a{b}\\**"), "{prefix}");
        let pattern = Pattern::parse("*a?*b").unwrap();
        let pattern = keys.matching(key.tenant, &pattern);
        assert!(pattern.ends_with(":*a\\?*b"), "{pattern}");
        let [counts, notes] = keys.searches(key.tenant);
        assert_eq!(counts[..12], notes[..12]);
    }
}
