//! Typed identifiers: UUIDs that cannot be mistaken for one another.

use std::{fmt, str::FromStr};

use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Makes a new identifier: UUID version 7, so that ids sort by creation.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            /// Accepts exactly the 36-character lower-case form that is handed out.
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                match Uuid::try_parse(text) {
                    Ok(id) if text.len() == 36 => Ok(Self(id)),
                    _ => Err(InvalidId { text: text.chars().take(64).collect() }),
                }
            }
        }
    };
}

id!(
    /// Identifies a media item.
    MediaItemId
);
id!(
    /// Identifies a job.
    JobId
);
id!(
    /// Identifies a tenant.
    TenantId
);
id!(
    /// Identifies an API key; not a secret.
    ApiKeyId
);

/// A text that is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id; an id is a UUID of 36 characters")]
pub struct InvalidId {
    /// What was given, at most 64 characters of it.
    pub text: String,
}
