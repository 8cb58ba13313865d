//! Hooks and limits, supplied once by the crate that includes the generated source.

use std::{fmt, sync::Arc, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, request::Parts};
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};

use super::Problem;

/// 4 MiB: what a gRPC server decodes by default, so a larger body could only fail later.
const DEFAULT_BODY_LIMIT_BYTES: usize = 4 << 20;

/// 4 MiB over a slow mobile connection.
const DEFAULT_BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Proxies commonly close a silent connection after 30 to 60 s.
const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Request headers [`forward`] passes on as metadata: identity, trace context, request id.
const FORWARDED: [&str; 6] = [
    "authorization",
    "traceparent",
    "tracestate",
    "baggage",
    "x-request-id",
    "accept-language",
];

type ProblemHook = Arc<dyn Fn(Problem, &Parts) -> Problem + Send + Sync>;
type HeadersHook = Arc<dyn Fn(&MetadataMap, &mut HeaderMap) + Send + Sync>;

/// Limits and hooks of a set of generated routes. Cheap to clone.
#[derive(Clone)]
pub struct Options {
    pub(crate) body_limit_bytes: usize,
    pub(crate) body_timeout: Duration,
    pub(crate) keep_alive: Duration,
    by_hand: Vec<(&'static str, &'static str)>,
    problem: Option<ProblemHook>,
    response_headers: Option<HeadersHook>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            body_limit_bytes: DEFAULT_BODY_LIMIT_BYTES,
            body_timeout: DEFAULT_BODY_TIMEOUT,
            keep_alive: DEFAULT_KEEP_ALIVE,
            by_hand: Vec::new(),
            problem: None,
            response_headers: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("body_limit_bytes", &self.body_limit_bytes)
            .field("keep_alive", &self.keep_alive)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Sets the largest JSON body read, in bytes; a longer one is answered 413. Default 4 MiB.
    #[must_use]
    pub fn body_limit_bytes(mut self, limit: usize) -> Self {
        self.body_limit_bytes = limit;
        self
    }

    /// Sets how long a JSON body may take to arrive; a later one is answered 408. Default 60 s.
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// Sets the silence after which an event stream sends a comment line. Default 15 s.
    #[must_use]
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive = interval;
        self
    }

    /// Names a hand-written method of a generated path, so that `Allow` lists it too.
    #[must_use]
    pub fn by_hand(mut self, method: &'static str, path: &'static str) -> Self {
        self.by_hand.push((method, path));
        self
    }

    /// Sets the hook every error answer passes through once: add trace ids, log, count.
    #[must_use]
    pub fn problem(
        mut self,
        hook: impl Fn(Problem, &Parts) -> Problem + Send + Sync + 'static,
    ) -> Self {
        self.problem = Some(Arc::new(hook));
        self
    }

    /// Sets the hook that copies response metadata into response headers. Default copies none.
    #[must_use]
    pub fn response_headers(
        mut self,
        hook: impl Fn(&MetadataMap, &mut HeaderMap) + Send + Sync + 'static,
    ) -> Self {
        self.response_headers = Some(Arc::new(hook));
        self
    }

    /// Returns `problem` after the hook has seen it.
    pub fn finish(&self, problem: Problem, parts: &Parts) -> Problem {
        match &self.problem {
            Some(hook) => hook(problem, parts),
            None => problem,
        }
    }

    /// Returns the answer for `problem`, after the hook has seen it.
    ///
    /// The answer has the problem as an extension too, for a layer that writes it in another form.
    pub fn answer(&self, problem: Problem, parts: &Parts) -> Response {
        let problem = self.finish(problem, parts);
        let mut response = problem.clone().into_response();
        response.extensions_mut().insert(problem);
        response
    }

    /// The hand-written methods of a path.
    pub(crate) fn methods_by_hand(&self, path: &str) -> impl Iterator<Item = &'static str> {
        let here = self.by_hand.iter().filter(move |(_, known)| *known == path);
        here.map(|(method, _)| *method)
    }

    pub(crate) fn copy_headers(&self, metadata: &MetadataMap, headers: &mut HeaderMap) {
        if let Some(hook) = &self.response_headers {
            hook(metadata, headers);
        }
    }
}

/// Wraps `message` with the caller's identity and trace headers: the default request hook.
///
/// Headers that are not printable ASCII are left out: metadata cannot carry them.
pub fn forward<T>(parts: &Parts, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    for name in FORWARDED {
        for value in parts.headers.get_all(name) {
            if let Ok(value) = MetadataValue::try_from(value.as_bytes()) {
                request
                    .metadata_mut()
                    .append(MetadataKey::from_static(name), value);
            }
        }
    }
    request
}
