//! How a call of Redis ends when not well.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why a call did nothing, or nothing that is known of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It was not made: the breaker is open, there is no connection yet, or removals are pending.
    NotAsked,
    /// No answer in time.
    Timeout,
    /// No connection, or it broke; a cluster without a master; a server that starts.
    Broken(String),
    /// Redis is there and refuses: it is full, read-only, or does not allow it.
    Refused(String),
}

impl Fault {
    /// The label of metrics; `None` if nothing was asked.
    pub(crate) fn kind(&self) -> Option<&'static str> {
        match self {
            Self::NotAsked => None,
            Self::Timeout => Some("timeout"),
            Self::Broken(_) => Some("connection"),
            Self::Refused(_) => Some("refused"),
        }
    }

    /// Whether it speaks against asking again soon.
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Timeout | Self::Broken(_))
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        let text = error.to_string();
        match error.kind() {
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask,
            ) => Self::Broken(text),
            ErrorKind::Server(_) | ErrorKind::Extension => Self::Refused(text),
            _ => Self::Broken(text),
        }
    }
}
