//! A call on its way through retry, hedge, attempt and balance: a request that can be sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use http::request::Parts;
use http_body_util::{BodyExt as _, Limited};
use tonic::body::Body;

use super::endpoint::Endpoint;
use crate::deadline::Deadline;
use crate::method::{Idempotency, MethodKind};
use crate::policy::{MethodPolicy, Policy, defaults};
use crate::settle::whole;
use crate::{Request, Response, status};

/// One attempt at a call; boxed, as it goes from hand to hand.
pub(crate) struct Call {
    pub(crate) original: Arc<Original>,
    pub(crate) head: Parts,
    body: CallBody,
    /// Attempts before this one.
    pub(crate) previous_attempts: u32,
    /// When the attempt that is under way is given up.
    pub(crate) expires: Option<Deadline>,
    /// Whether this is the second attempt of a hedged call.
    pub(crate) hedge: bool,
}

/// What all attempts at a call share.
pub(crate) struct Original {
    /// What further attempts are made of; `None` of an upload, which can be sent once.
    request: Option<(Parts, Bytes)>,
    pub(crate) policy: Arc<MethodPolicy>,
    pub(crate) deadline: Option<Deadline>,
    /// Endpoints that attempts went to, those that run now included.
    pub(crate) tried: Tried,
    /// The number of the attempt that was given up last, though the call had more time; 0 is none.
    given_up: AtomicU32,
}

enum CallBody {
    /// All of it, so that it can be sent any number of times.
    Whole(Bytes),
    /// An upload.
    Stream(Body),
}

impl Original {
    /// Returns another attempt, to be sent later or beside the first; `None` of an upload.
    pub(crate) fn again(self: &Arc<Self>, previous_attempts: u32) -> Option<Box<Call>> {
        let (head, bytes) = self.request.as_ref()?;
        let body = CallBody::Whole(bytes.clone());
        Some(Call::new(
            Arc::clone(self),
            head.clone(),
            body,
            previous_attempts,
        ))
    }

    /// Notes that this attempt is given up.
    pub(crate) fn give_up(&self, previous_attempts: u32) {
        self.given_up
            .store(previous_attempts + 1, Ordering::Release);
    }

    pub(crate) fn has_given_up(&self, previous_attempts: u32) -> bool {
        self.given_up.load(Ordering::Acquire) == previous_attempts + 1
    }

    /// Returns the path of a call that can be sent again.
    pub(crate) fn path(&self) -> &str {
        let request = self.request.as_ref();
        request.map_or("", |(head, _)| head.uri.path())
    }

    /// Returns whether the call may be sent again after it may have started.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.request.is_some() && self.policy.method.idempotency != Idempotency::Unknown
    }
}

impl Call {
    /// Takes a request in; the body of a unary request is read to its end, which costs nothing, since
    /// generated clients hold it whole.
    ///
    /// Errors: the answer to a request whose body fails or is longer than the largest message.
    pub(crate) async fn take(
        request: Request,
        policy: &Policy,
    ) -> Result<Box<Self>, Box<Response>> {
        let (mut head, body) = request.into_parts();
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
        // They stay in this process, and would be copied for each attempt.
        let extensions = std::mem::take(&mut head.extensions);
        let request = match &body {
            CallBody::Whole(bytes) => Some((head.clone(), bytes.clone())),
            CallBody::Stream(_) => None,
        };
        let original = Arc::new(Original {
            request,
            policy,
            deadline: extensions.get::<Deadline>().copied(),
            tried: Tried::default(),
            given_up: AtomicU32::new(0),
        });
        Ok(Self::new(original, head, body, 0))
    }

    fn new(
        original: Arc<Original>,
        head: Parts,
        body: CallBody,
        previous_attempts: u32,
    ) -> Box<Self> {
        Box::new(Self {
            original,
            head,
            body,
            previous_attempts,
            expires: None,
            hedge: false,
        })
    }

    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// Takes the request out, to be sent.
    pub(crate) fn open(&mut self) -> Request {
        let nothing = Request::default().into_parts().0;
        let head = std::mem::replace(&mut self.head, nothing);
        let body = match &mut self.body {
            CallBody::Whole(bytes) => whole(bytes.clone()),
            CallBody::Stream(body) => std::mem::take(body),
        };
        Request::from_parts(head, body)
    }

    /// Puts back the request, which came back unsent.
    pub(crate) fn close(&mut self, request: Request) {
        let (head, body) = request.into_parts();
        self.head = head;
        if let CallBody::Stream(kept) = &mut self.body {
            *kept = body;
        }
    }
}

/// A set of endpoints by their slots; beyond 64 of them it may hold one too many, which only makes the
/// balancer choose another of the many.
#[derive(Debug, Default)]
pub(crate) struct Tried(AtomicU64);

impl Tried {
    pub(crate) fn add(&self, endpoint: &Endpoint) {
        self.0.fetch_or(bit(endpoint), Ordering::AcqRel);
    }

    pub(crate) fn has(&self, endpoint: &Endpoint) -> bool {
        self.0.load(Ordering::Acquire) & bit(endpoint) != 0
    }
}

fn bit(endpoint: &Endpoint) -> u64 {
    1 << (endpoint.slot % 64)
}
