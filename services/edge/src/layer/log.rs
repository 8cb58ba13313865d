//! Notes every request in the log once its answer has gone, or its client has.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use bytes::{Buf as _, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use mediamesh_mesh::{Identity, admin::guard::is_for_operators};
use mediamesh_proto::{
    media::v1::LoggedRequest,
    time::{duration, now_micros, timestamp},
};
use mediamesh_transcode::runtime::Matched;
use tokio::time::Instant;
use uuid::Uuid;

use super::trace::{TraceId, route_name};
use crate::Shared;

/// Status of a request whose client went away before there was an answer, as other servers log it.
const CLIENT_GONE: i32 = 499;
/// Probes: they would be most of the log.
const PROBES: [&str; 2] = ["/health", "/api/health"];

/// Who called, as an extension of the answer.
#[derive(Clone, Debug)]
pub(crate) struct AnsweredCaller(pub(crate) Identity);

/// Notes the request.
pub(crate) async fn apply(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let probe = PROBES.iter().any(|probe| path.starts_with(probe));
    if probe || is_for_operators(request.uri()) {
        return next.run(request).await;
    }
    let trace_id = request.extensions().get::<TraceId>();
    let mut running = Running {
        start: Instant::now(),
        came: Arc::default(),
        request: LoggedRequest {
            id: Uuid::now_v7().to_string(),
            method: request.method().as_str().chars().take(16).collect(),
            route: route_name(&request),
            status: CLIENT_GONE,
            trace_id: trace_id.map_or_else(String::new, |TraceId(id)| id.clone()),
            ..LoggedRequest::default()
        },
        shared: Arc::clone(&shared),
    };
    let came = Arc::clone(&running.came);
    request = request.map(|body| Body::new(Came { body, came }));
    let mut response = next.run(request).await;
    let logged = &mut running.request;
    if let Some(matched) = response.extensions().get::<Matched>() {
        logged.route = matched.template.to_owned();
    }
    let local = Identity::local();
    let caller = match response.extensions_mut().remove::<AnsweredCaller>() {
        Some(AnsweredCaller(caller)) => Some(caller),
        // there is one user, who need not say so
        None => (!shared.deps.authenticator.required()).then_some(local),
    };
    if let Some(caller) = caller {
        logged.tenant_id = caller.tenant_id.to_string();
        logged.user_id = caller.subject;
    }
    logged.status = i32::from(response.status().as_u16());
    response.map(|body| Body::new(Going { body, running }))
}

/// A request that has not ended; it is noted when this is dropped.
struct Running {
    start: Instant,
    came: Arc<AtomicU64>,
    request: LoggedRequest,
    shared: Arc<Shared>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(log) = &self.shared.log else { return };
        let mut request = std::mem::take(&mut self.request);
        request.end_time = Some(timestamp(now_micros()));
        request.duration = Some(duration(self.start.elapsed()));
        request.request_bytes = number(self.came.load(Ordering::Relaxed));
        log.note(request);
    }
}

fn number(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The bytes of a frame; trailers have none.
fn bytes_of(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.remaining() as u64)
}

/// A body that comes, counted.
struct Came {
    body: Body,
    came: Arc<AtomicU64>,
}

impl HttpBody for Came {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.came.fetch_add(bytes_of(frame), Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that goes, counted; with it ends its request.
struct Going {
    body: Body,
    running: Running,
}

impl HttpBody for Going {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let went = number(bytes_of(frame));
            let logged = &mut self.running.request;
            logged.response_bytes = logged.response_bytes.saturating_add(went);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
