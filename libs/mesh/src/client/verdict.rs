//! What the end of an attempt means: to the breaker, to the retry, to the budget. The one table.
//!
//! | end | breaker | repeated |
//! |---|---|---|
//! | OK, or a mistake of the caller | success | no |
//! | never left this process, refused stream, shed, peer shuts down | nothing | any method |
//! | UNAVAILABLE because *its* dependency is down | soft failure | idempotent methods: another may reach it |
//! | UNAVAILABLE otherwise, connection lost | hard failure | idempotent methods |
//! | the one stream was reset | soft failure | idempotent methods |
//! | INTERNAL, UNKNOWN | soft failure | idempotent methods, at an endpoint that was not asked yet: it may be this one's bug |
//! | DATA_LOSS | soft failure | no |
//! | RESOURCE_EXHAUSTED | soft failure | idempotent methods, if the peer says when |
//! | DEADLINE_EXCEEDED | soft failure, after a time above `silence`; else nothing | idempotent methods, if only the attempt's time was up |
//! | CANCELLED | nothing | no |
//! | no endpoint can be reached | nothing | any method, without taking from the budget |
//! | every breaker is open, every endpoint is full | nothing | no: the caller is told when |

use std::time::Duration;

use mediamesh_proto::{ErrorReason, status::reason_of};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::breaker::Signal;
use crate::Response;
use crate::body::head_code;

/// Response extension: this process made the answer, because the attempt ended so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Nothing was sent, or the peer says that it was not looked at.
    NotStarted,
    /// The connection was lost on the way.
    Lost,
    /// The peer, or this side, ended this one stream; the connection stands.
    Reset,
    /// The attempt's own time was up, the call's is not.
    TimedOut,
    /// No endpoint can be reached.
    Unreachable,
    /// There are endpoints, and none may be asked now.
    NoEndpoint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Never.
    No,
    /// If the method is idempotent, and there is an endpoint that was not asked yet.
    Elsewhere,
    /// If the method is idempotent.
    Idempotent,
    /// Whatever the method.
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) code: Code,
    pub(crate) signal: Signal,
    pub(crate) repeat: Repeat,
    /// When the peer wants to hear of it again.
    pub(crate) pushback: Option<Duration>,
}

impl Verdict {
    const fn new(code: Code, signal: Signal, repeat: Repeat) -> Self {
        Self {
            code,
            signal,
            repeat,
            pushback: None,
        }
    }

    /// Judges a response by its head; one whose end is still to come counts as OK.
    pub(crate) fn of(response: &Response) -> Self {
        match head_code(response) {
            None | Some(Code::Ok) => Self::new(Code::Ok, Signal::Success, Repeat::No),
            Some(code) => {
                let status = Status::from_header_map(response.headers());
                let broken = response.extensions().get::<Broken>().copied();
                Self::of_failure(code, status.as_ref(), broken)
            }
        }
    }

    fn of_failure(code: Code, status: Option<&Status>, broken: Option<Broken>) -> Self {
        let pushback = status
            // What this process says itself is for who called it; its retry knows as much.
            .filter(|status| broken.is_none() && !status.details().is_empty())
            .and_then(|status| status.get_details_retry_info())
            .and_then(|info| info.retry_delay);
        let (signal, repeat) = match broken {
            Some(Broken::NotStarted | Broken::Unreachable) => (Signal::Neutral, Repeat::Always),
            Some(Broken::NoEndpoint) => (Signal::Neutral, Repeat::No),
            Some(Broken::Lost) => (Signal::HardFailure, Repeat::Idempotent),
            Some(Broken::TimedOut | Broken::Reset) => (Signal::SoftFailure, Repeat::Idempotent),
            None => judge(code, status.and_then(reason_of), pushback.is_some()),
        };
        Self {
            code,
            signal,
            repeat,
            pushback,
        }
    }

    /// Judges the end of a stream that had begun well.
    pub(crate) fn of_end(code: Code) -> Signal {
        match code {
            Code::Cancelled => Signal::Neutral,
            code => judge(code, None, false).0,
        }
    }

    /// Returns whether a further attempt may be made; `elsewhere` tells whether it would go to an
    /// endpoint that was not asked yet.
    pub(crate) fn may_repeat(&self, repeatable: bool, elsewhere: impl FnOnce() -> bool) -> bool {
        match self.repeat {
            Repeat::No => false,
            Repeat::Elsewhere => repeatable && elsewhere(),
            Repeat::Idempotent => repeatable,
            Repeat::Always => true,
        }
    }
}

/// Says how an attempt ended that got no answer, or not all of it.
///
/// Source: RFC 9113, sections 6.8 and 8.7: a refused stream, and one above the last of a GOAWAY, was
/// not looked at.
pub(super) fn how(error: &hyper::Error) -> Broken {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(h2) = error.downcast_ref::<h2::Error>() {
            let reason = h2.reason();
            return match (h2.is_reset(), h2.is_go_away()) {
                (true, _) if reason == Some(h2::Reason::REFUSED_STREAM) => Broken::NotStarted,
                (true, _) => Broken::Reset,
                (_, true) if reason == Some(h2::Reason::NO_ERROR) => Broken::NotStarted,
                _ => Broken::Lost,
            };
        }
        cause = error.source();
    }
    Broken::Lost
}

fn judge(code: Code, reason: Option<ErrorReason>, pushback: bool) -> (Signal, Repeat) {
    match (code, reason) {
        (
            Code::Unavailable,
            Some(ErrorReason::LoadShed | ErrorReason::ShuttingDown | ErrorReason::StartingUp),
        ) => (Signal::Neutral, Repeat::Always),
        (Code::Unavailable, Some(ErrorReason::DependencyDown | ErrorReason::CircuitOpen)) => {
            (Signal::SoftFailure, Repeat::Idempotent)
        }
        (Code::Unavailable, _) => (Signal::HardFailure, Repeat::Idempotent),
        (Code::Internal | Code::Unknown, _) => (Signal::SoftFailure, Repeat::Elsewhere),
        (Code::DataLoss, _) => (Signal::SoftFailure, Repeat::No),
        (Code::ResourceExhausted, _) if pushback => (Signal::SoftFailure, Repeat::Idempotent),
        (Code::ResourceExhausted | Code::DeadlineExceeded, _) => (Signal::SoftFailure, Repeat::No),
        (Code::Cancelled, _) => (Signal::Neutral, Repeat::No),
        _ => (Signal::Success, Repeat::No),
    }
}

#[cfg(test)]
mod tests {
    use mediamesh_proto::{Error, ErrorKind};

    use super::*;

    fn verdict(status: Status) -> Verdict {
        Verdict::of(&status.into_http())
    }

    #[test]
    fn mistakes_of_the_caller_are_successes_of_the_endpoint() {
        for code in [
            Code::InvalidArgument,
            Code::NotFound,
            Code::AlreadyExists,
            Code::PermissionDenied,
            Code::Unauthenticated,
            Code::FailedPrecondition,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unimplemented,
        ] {
            let verdict = verdict(Status::new(code, "x"));
            assert_eq!(verdict.signal, Signal::Success, "{code:?}");
            assert!(!verdict.may_repeat(true, || true), "{code:?}");
        }
    }

    #[test]
    fn a_shed_call_is_repeated_whatever_the_method_and_tells_nothing() {
        for reason in [
            ErrorReason::LoadShed,
            ErrorReason::ShuttingDown,
            ErrorReason::StartingUp,
        ] {
            let shed = Error::new(ErrorKind::Overloaded, reason, "full")
                .retry_after(Duration::from_millis(200));
            let verdict = verdict(shed.into());
            assert!(verdict.may_repeat(false, || false), "{reason:?}");
            assert_eq!(verdict.signal, Signal::Neutral, "{reason:?}");
            assert_eq!(verdict.pushback, Some(Duration::from_millis(200)));
        }
    }

    #[test]
    fn a_peers_dead_dependency_may_be_alive_for_another() {
        let down = Error::new(
            ErrorKind::DependencyDown,
            ErrorReason::DependencyDown,
            "embedding cannot be reached",
        );
        let verdict = verdict(down.into());
        assert_eq!(
            (verdict.signal, verdict.repeat),
            (Signal::SoftFailure, Repeat::Idempotent)
        );
    }

    #[test]
    fn an_answer_that_is_an_error_never_fails_hard() {
        for code in [Code::Internal, Code::Unknown, Code::DataLoss] {
            let verdict = verdict(Status::new(code, "x"));
            assert_eq!(verdict.signal, Signal::SoftFailure, "{code:?}");
        }
    }

    #[test]
    fn what_may_be_one_servers_bug_is_asked_of_another_but_never_of_the_same() {
        for code in [Code::Internal, Code::Unknown] {
            let verdict = verdict(Status::new(code, "x"));
            assert!(verdict.may_repeat(true, || true), "{code:?}");
            assert!(!verdict.may_repeat(true, || false), "{code:?}");
            assert!(!verdict.may_repeat(false, || true), "{code:?}");
        }
        let lost = verdict(Status::data_loss("x"));
        assert!(!lost.may_repeat(true, || true));
    }

    #[test]
    fn unavailable_is_repeated_only_if_idempotent() {
        let verdict = verdict(Status::unavailable("x"));
        assert_eq!(verdict.signal, Signal::HardFailure);
        assert!(verdict.may_repeat(true, || false) && !verdict.may_repeat(false, || true));
    }

    #[test]
    fn exhausted_peers_are_asked_again_only_when_they_say_when() {
        let refused = |advice: bool| {
            let error = Error::new(
                ErrorKind::ResourceExhausted,
                ErrorReason::RateLimited,
                "slow down",
            );
            verdict(match advice {
                true => error.retry_after(Duration::from_secs(1)).into(),
                false => error.into(),
            })
        };
        assert_eq!(refused(false).signal, Signal::SoftFailure);
        assert!(!refused(false).may_repeat(true, || true));
        assert!(refused(true).may_repeat(true, || false));
        assert!(!refused(true).may_repeat(false, || true));
    }
}
