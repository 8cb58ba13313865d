//! What an update does to a session.

use std::collections::BTreeMap;

use super::record::Data;

/// One change of what a session holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    ExternalUserId(String),
    Email(String),
    SubscriptionTier(String),
    /// All pairs.
    Metadata(BTreeMap<String, String>),
    /// One pair; without a value it is removed.
    Pair(String, Option<String>),
}

/// Does the changes, in order.
pub(crate) fn apply(changes: &[Change], data: &mut Data) {
    for change in changes {
        match change {
            Change::ExternalUserId(text) => data.external_user_id.clone_from(text),
            Change::Email(text) => data.email.clone_from(text),
            Change::SubscriptionTier(text) => data.subscription_tier.clone_from(text),
            Change::Metadata(pairs) => data.metadata.clone_from(pairs),
            Change::Pair(key, Some(value)) => {
                data.metadata.insert(key.clone(), value.clone());
            }
            Change::Pair(key, None) => {
                data.metadata.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_alone_what_it_does_not_name() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let mut data = Data {
            email: "a@b.example".to_owned(),
            metadata: BTreeMap::from([pair("a", "1"), pair("b", "2")]),
            ..Data::default()
        };
        let changes = [
            Change::Pair("a".to_owned(), None),
            Change::Pair("c".to_owned(), Some("3".to_owned())),
            Change::SubscriptionTier("pro".to_owned()),
        ];
        apply(&changes, &mut data);
        assert_eq!(
            data.metadata,
            BTreeMap::from([pair("b", "2"), pair("c", "3")])
        );
        assert_eq!(
            (&*data.email, &*data.subscription_tier),
            ("a@b.example", "pro")
        );
        apply(&[Change::Metadata(BTreeMap::new())], &mut data);
        assert_eq!(data.metadata.len(), 0);
    }
}
