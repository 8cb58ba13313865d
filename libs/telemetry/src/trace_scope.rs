//! Where a request runs: in a span if somebody receives it, else in a context that only carries ids.
//!
//! Spans cost more than the rest of a call, and most traces are not recorded: nothing is exported, or
//! the caller decided that this trace is not sampled. Logs, errors and calls carry its id all the same.

use std::future::Future;

use futures::future::Either;
use opentelemetry::Context;
use opentelemetry::context::FutureExt as _;
use tracing::{Instrument as _, Span, field};

use crate::propagation;

/// See the module. Clones are the same scope.
#[derive(Debug, Clone)]
pub enum TraceScope {
    /// The trace is recorded.
    Span(Span),
    /// The trace has ids and no spans.
    Ids(Context),
}

impl TraceScope {
    /// Makes the scope of a request that comes from elsewhere, whose trace is `parent`.
    pub fn remote(parent: Context, span: impl FnOnce() -> Span) -> Self {
        if !propagation::is_recorded(&parent) {
            return Self::Ids(propagation::with_ids(parent));
        }
        let span = span();
        // Before the span is first entered: later its parent is fixed.
        propagation::set_parent(&span, parent);
        Self::Span(span)
    }

    /// Makes the scope of what this code does next; `None` if its trace is not recorded: then it stays
    /// in the scope it is in.
    pub fn local(span: impl FnOnce() -> Span) -> Option<Span> {
        propagation::is_recorded(&Context::current()).then(span)
    }

    /// Runs `work` inside.
    pub fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        match self {
            Self::Span(span) => span.in_scope(work),
            Self::Ids(context) => {
                let _attached = context.clone().attach();
                work()
            }
        }
    }

    /// Runs a future inside, at each poll.
    pub fn run<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        match self {
            Self::Span(span) => Either::Left(work.instrument(span.clone())),
            Self::Ids(context) => Either::Right(work.with_context(context.clone())),
        }
    }

    /// Notes a value that was not known when the span began.
    pub fn record<V: field::Value>(&self, name: &str, value: V) {
        if let Self::Span(span) = self {
            span.record(name, value);
        }
    }

    /// Gives the span its final name, e.g. once the route of a request is known.
    pub fn rename(&self, name: impl FnOnce() -> String) {
        if let Self::Span(span) = self {
            propagation::rename(span, name());
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderMap;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn caller(flags: &str) -> Context {
        propagation::install();
        let mut headers = HeaderMap::new();
        let traceparent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        headers.insert("traceparent", traceparent.parse().unwrap());
        propagation::extract(&headers)
    }

    fn never() -> Span {
        panic!("nobody would receive this span")
    }

    #[test]
    fn a_trace_that_its_caller_does_not_record_has_ids_and_no_spans() {
        let scope = TraceScope::remote(caller("00"), never);
        scope.enter(|| {
            let id = propagation::current_trace_id().unwrap();
            assert_eq!(id, "0af7651916cd43dd8448eb211c80319c");
            assert!(TraceScope::local(never).is_none());
            let mut headers = HeaderMap::new();
            propagation::inject(&mut headers);
            assert!(headers["traceparent"].to_str().unwrap().contains(&id));
        });
        assert_eq!(propagation::current_trace_id(), None);
    }

    #[test]
    fn a_recorded_trace_has_spans_below_its_caller() {
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOn)
            .build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let scope = TraceScope::remote(caller("01"), || tracing::info_span!("server"));
            scope.enter(|| {
                let id = propagation::current_trace_id().unwrap();
                assert_eq!(id, "0af7651916cd43dd8448eb211c80319c");
                assert!(TraceScope::local(|| tracing::info_span!("client")).is_some());
            });
        });
    }

    #[test]
    fn a_request_without_a_trace_gets_ids() {
        let context = propagation::with_ids(Context::new());
        let scope = TraceScope::Ids(context);
        let (one, two) = (
            scope.enter(propagation::current_trace_id).unwrap(),
            TraceScope::Ids(propagation::with_ids(Context::new()))
                .enter(propagation::current_trace_id)
                .unwrap(),
        );
        assert_eq!(one.len(), 32);
        assert_ne!(one, two);
    }

    #[test]
    fn a_future_has_the_ids_at_each_poll() {
        let scope = TraceScope::remote(caller("00"), never);
        let ids = futures::executor::block_on(scope.run(async {
            let before = propagation::current_trace_id();
            let mut polled = false;
            std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                match std::mem::replace(&mut polled, true) {
                    false => std::task::Poll::Pending,
                    true => std::task::Poll::Ready(()),
                }
            })
            .await;
            (before, propagation::current_trace_id())
        }));
        assert!(ids.0.is_some() && ids.0 == ids.1);
    }
}
