//! A call on its way through retry, hedge, attempt and balance: a request that can be sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::request::Parts;
use http_body_util::{BodyExt as _, Full, Limited};
use tonic::body::Body;

use crate::deadline::Deadline;
use crate::method::{Idempotency, MethodKind};
use crate::policy::{MethodPolicy, Policy, defaults};
use crate::{Request, Response, status};

/// A request and what the layers must know of it.
pub(crate) struct Call {
    pub(crate) head: Parts,
    body: CallBody,
    pub(crate) policy: MethodPolicy,
    pub(crate) deadline: Option<Deadline>,
    /// Attempts before this one.
    pub(crate) previous_attempts: u32,
    /// When the attempt that is under way is given up.
    pub(crate) expires: Option<Deadline>,
    /// Whether this is the second attempt of a hedged call.
    pub(crate) hedge: bool,
    /// Endpoints that attempts of this call went to, the others' running now included.
    pub(crate) tried: Tried,
}

enum CallBody {
    /// All of it, so that it can be sent any number of times.
    Whole(Bytes),
    /// An upload, which can be sent once.
    Stream(Body),
}

impl Call {
    /// Takes a request in; the body of a unary request is read to its end, which costs nothing, since
    /// generated clients hold it whole.
    ///
    /// Errors: the answer to a request whose body fails or is longer than the largest message.
    pub(crate) async fn take(request: Request, policy: &Policy) -> Result<Self, Box<Response>> {
        let (head, body) = request.into_parts();
        let policy = policy.method(head.uri.path());
        let body = match policy.method.kind {
            MethodKind::Unary | MethodKind::ServerStream => {
                let limited = Limited::new(body, defaults::MAX_REPLAY_BYTES + 5);
                match limited.collect().await {
                    Ok(whole) => CallBody::Whole(whole.to_bytes()),
                    Err(error) => {
                        tracing::debug!(error = %error, "request body could not be read");
                        return Err(Box::new(status::request_unreadable().into_http()));
                    }
                }
            }
            MethodKind::ClientStream | MethodKind::Bidi => CallBody::Stream(body),
        };
        let deadline = head.extensions.get::<Deadline>().copied();
        Ok(Self {
            head,
            body,
            policy,
            deadline,
            previous_attempts: 0,
            expires: None,
            hedge: false,
            tried: Tried::default(),
        })
    }

    /// Returns a copy, to be sent later or beside this one; `None` if the body is a stream.
    pub(crate) fn again(&self) -> Option<Self> {
        let CallBody::Whole(bytes) = &self.body else {
            return None;
        };
        Some(Self {
            head: self.head.clone(),
            body: CallBody::Whole(bytes.clone()),
            policy: self.policy,
            deadline: self.deadline,
            previous_attempts: self.previous_attempts,
            expires: None,
            hedge: false,
            tried: self.tried.clone(),
        })
    }

    /// Returns whether the call may be sent again after it may have started.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.policy.method.idempotency != Idempotency::Unknown
            && matches!(self.body, CallBody::Whole(_))
    }

    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// Splits the call into the request and the rest.
    pub(crate) fn open(self) -> (Shell, Request) {
        let (whole, body) = match self.body {
            CallBody::Whole(bytes) => (Some(bytes.clone()), Body::new(Full::new(bytes))),
            CallBody::Stream(body) => (None, body),
        };
        let shell = Shell {
            whole,
            policy: self.policy,
            deadline: self.deadline,
            previous_attempts: self.previous_attempts,
            expires: self.expires,
            hedge: self.hedge,
            tried: self.tried,
        };
        (shell, Request::from_parts(self.head, body))
    }
}

/// A call whose request is on its way.
pub(crate) struct Shell {
    whole: Option<Bytes>,
    policy: MethodPolicy,
    deadline: Option<Deadline>,
    previous_attempts: u32,
    expires: Option<Deadline>,
    hedge: bool,
    tried: Tried,
}

impl Shell {
    /// Makes the call whole again with the request that came back unsent.
    pub(crate) fn close(self, request: Request) -> Call {
        let (head, body) = request.into_parts();
        Call {
            head,
            body: match self.whole {
                Some(bytes) => CallBody::Whole(bytes),
                None => CallBody::Stream(body),
            },
            policy: self.policy,
            deadline: self.deadline,
            previous_attempts: self.previous_attempts,
            expires: self.expires,
            hedge: self.hedge,
            tried: self.tried,
        }
    }
}

/// A set of endpoints by the last six bits of their ids; with over 64 endpoints it may hold one too
/// many, which only makes the balancer choose another.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tried(Arc<AtomicU64>);

impl Tried {
    pub(crate) fn add(&self, endpoint: u64) {
        self.0.fetch_or(1 << (endpoint % 64), Ordering::AcqRel);
    }

    pub(crate) fn has(&self, endpoint: u64) -> bool {
        self.0.load(Ordering::Acquire) & (1 << (endpoint % 64)) != 0
    }
}
