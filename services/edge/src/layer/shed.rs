//! A bound on requests at once: more would only take memory and time from those that run.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Shared, problem};

/// The slots.
#[derive(Clone)]
pub(crate) struct Slots {
    shared: Arc<Shared>,
    free: Arc<Semaphore>,
}

impl Slots {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let count = shared.options.max_concurrency.min(Semaphore::MAX_PERMITS);
        Self {
            shared: Arc::clone(shared),
            free: Arc::new(Semaphore::new(count)),
        }
    }
}

/// Answers 503 when no slot is free; a streamed answer keeps its slot to its end.
pub(crate) async fn apply(State(slots): State<Slots>, request: Request, next: Next) -> Response {
    let Ok(slot) = Arc::clone(&slots.free).try_acquire_owned() else {
        let (parts, _) = request.into_parts();
        let problem = problem::load_shed(slots.shared.options.max_concurrency);
        return slots.shared.answers.answer(problem, &parts);
    };
    let response = next.run(request).await;
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|inner| Body::new(Held { inner, _slot: slot }))
}

struct Held {
    inner: Body,
    _slot: OwnedSemaphorePermit,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
