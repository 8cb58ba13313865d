//! How urgent a call is.
//!
//! Work for which nobody waits runs in [`background`]; every call it makes carries the header
//! `mediamesh-priority: background`, and so do the calls made while serving those. Under overload
//! a server refuses background calls first. A call can lose urgency on its way but never gain it.
//! Like a deadline, the priority does not follow a spawned task: use [`scope`] there.

use std::future::Future;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Header that carries a call's priority; absent means [`Priority::Interactive`].
pub(crate) const MEDIAMESH_PRIORITY: HeaderName = HeaderName::from_static("mediamesh-priority");

tokio::task_local! {
    static CURRENT: Priority;
}

/// How urgent a call is, most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// Somebody waits for the answer.
    #[default]
    Interactive,
    /// Nobody waits: jobs, imports, backfills.
    Background,
}

impl Priority {
    /// Both, most urgent first.
    pub const ALL: [Self; 2] = [Self::Interactive, Self::Background];

    /// Returns the lower-case name, as in the header and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Background => "background",
        }
    }

    /// Returns the priority of the work this code does; interactive unless said otherwise.
    pub fn current() -> Self {
        CURRENT.try_with(|priority| *priority).unwrap_or_default()
    }

    /// Reads the priority of a request; an unknown one counts as absent.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get(MEDIAMESH_PRIORITY).map(HeaderValue::as_bytes) {
            Some(b"background") => Self::Background,
            _ => Self::Interactive,
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// Runs `work` so that calls it makes are background calls.
pub async fn background<F: Future>(work: F) -> F::Output {
    scope(Priority::Background, work).await
}

/// Runs `work` so that calls it makes have `priority`, or the current one if that is less urgent.
pub async fn scope<F: Future>(priority: Priority, work: F) -> F::Output {
    CURRENT.scope(priority.max(Priority::current()), work).await
}

/// Like [`scope`], for one poll.
pub(crate) fn sync_scope<R>(priority: Priority, poll: impl FnOnce() -> R) -> R {
    CURRENT.sync_scope(priority.max(Priority::current()), poll)
}

/// Writes the priority of the current work into the headers of a call it makes.
pub(crate) fn inherit(headers: &mut HeaderMap) {
    if Priority::current() == Priority::Background {
        headers.insert(
            MEDIAMESH_PRIORITY,
            HeaderValue::from_static(Priority::Background.as_str()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn urgency_is_lost_but_never_gained() {
        assert_eq!(Priority::current(), Priority::Interactive);
        let inner = background(scope(Priority::Interactive, async { Priority::current() })).await;
        assert_eq!(inner, Priority::Background);
        let inner = scope(
            Priority::Interactive,
            background(async { Priority::current() }),
        )
        .await;
        assert_eq!(inner, Priority::Background);
    }

    #[tokio::test]
    async fn the_header_says_background_and_is_silent_otherwise() {
        let mut headers = HeaderMap::new();
        inherit(&mut headers);
        assert!(headers.is_empty());
        assert_eq!(Priority::of(&headers), Priority::Interactive);
        background(async { inherit(&mut headers) }).await;
        assert_eq!(headers[&MEDIAMESH_PRIORITY], "background");
        assert_eq!(Priority::of(&headers), Priority::Background);
        headers.insert(MEDIAMESH_PRIORITY, HeaderValue::from_static("urgent!"));
        assert_eq!(Priority::of(&headers), Priority::Interactive);
    }
}
