//! W3C trace context and baggage: in headers, job rows and error bodies.
//!
//! The current context is read from OpenTelemetry's own thread-local, which the subscriber keeps
//! in step with the entered span; it costs no lock and works inside a log formatter.

use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{
    Extractor, Injector, TextMapCompositePropagator, TextMapPropagator as _,
};
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, global};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Sets the W3C propagators (`traceparent`, `tracestate`, `baggage`) for the process.
///
/// [`crate::init`] does it; tests that bring their own subscriber call it themselves.
pub fn install() {
    global::set_text_map_propagator(TextMapCompositePropagator::new(vec![
        Box::new(TraceContextPropagator::new()),
        Box::new(BaggagePropagator::new()),
    ]));
}

/// Writes the current trace context into `headers`.
pub fn inject(headers: &mut HeaderMap) {
    let context = Context::current();
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut HeaderInjector(headers))
    });
}

/// Writes the context of `span` into `headers`, whether or not it is entered.
pub fn inject_span(span: &Span, headers: &mut HeaderMap) {
    let context = span.context();
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut HeaderInjector(headers))
    });
}

/// Reads the caller's trace context from `headers`; an empty context when there is none.
pub fn extract(headers: &HeaderMap) -> Context {
    global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(&Context::new(), &HeaderExtractor(headers))
    })
}

/// Makes `span` a child of `parent`, unless `parent` names no trace.
///
/// Must be called before the span is first entered; later it has no effect.
pub fn set_parent(span: &Span, parent: Context) {
    if parent.span().span_context().is_valid()
        && let Err(error) = span.set_parent(parent)
    {
        tracing::trace!(%error, "span keeps its own parent");
    }
}

/// Reads a `traceparent` string, e.g. one kept in a job row.
///
/// One that does not parse is an empty context: a bad row must not stop the job.
pub fn from_traceparent(traceparent: &str) -> Context {
    let mut headers = HeaderMap::new();
    let Ok(value) = HeaderValue::from_str(traceparent) else {
        return Context::new();
    };
    headers.insert("traceparent", value);
    TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(&headers))
}

/// Whether anybody receives spans; `init` knows, who brings a subscriber of their own receives them.
static RECEIVED: AtomicBool = AtomicBool::new(true);

pub(crate) fn set_received(received: bool) {
    RECEIVED.store(received, Ordering::Relaxed);
}

/// Returns whether spans below `parent` reach anybody; a trace that begins here is decided by the
/// sampler.
pub(crate) fn is_recorded(parent: &Context) -> bool {
    let span = parent.span();
    let span = span.span_context();
    RECEIVED.load(Ordering::Relaxed) && (!span.is_valid() || span.is_sampled())
}

/// Gives a context ids of a trace that is not recorded, unless it has some.
pub(crate) fn with_ids(context: Context) -> Context {
    if context.span().span_context().is_valid() {
        return context;
    }
    let ids = RandomIdGenerator::default();
    context.with_remote_span_context(SpanContext::new(
        ids.new_trace_id(),
        ids.new_span_id(),
        TraceFlags::default(),
        false,
        TraceState::default(),
    ))
}

/// Returns the current trace id, 32 hexadecimal digits.
pub fn current_trace_id() -> Option<String> {
    current_ids().map(|(trace_id, _)| trace_id.to_string())
}

/// Returns the current context as a `traceparent` value, for a job row or a foreign protocol.
///
/// Source: W3C Trace Context level 1, section 3.2.
pub fn traceparent() -> Option<String> {
    let context = Context::current();
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| {
        format!(
            "00-{}-{}-{:02x}",
            span.trace_id(),
            span.span_id(),
            span.trace_flags().to_u8()
        )
    })
}

pub(crate) fn current_ids() -> Option<(TraceId, SpanId)> {
    let context = Context::current();
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| (span.trace_id(), span.span_id()))
}

struct HeaderInjector<'a>(&'a mut HeaderMap);

impl Injector for HeaderInjector<'_> {
    fn set(&mut self, key: &str, value: String) {
        // The propagators also set empty tracestate and baggage; those would be bytes for nothing.
        if value.is_empty() {
            return;
        }
        if let (Ok(name), Ok(mut value)) = (HeaderName::try_from(key), HeaderValue::try_from(value))
        {
            // No two calls say the same: kept in HPACK's table it would only push out what repeats.
            value.set_sensitive(true);
            self.0.insert(name, value);
        }
    }
}

struct HeaderExtractor<'a>(&'a HeaderMap);

impl Extractor for HeaderExtractor<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// Gives a span that has begun its final name, e.g. once the route of a request is known.
///
/// A field `otel.name` that is recorded late has no effect: the name is taken when the span begins.
pub(crate) fn rename(span: &Span, name: String) {
    span.context().span().update_name(name);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn with_subscriber<T>(sampler: Sampler, run: impl FnOnce() -> T) -> T {
        install();
        let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), run)
    }

    #[test]
    fn a_trace_id_exists_without_any_exporter() {
        with_subscriber(Sampler::AlwaysOff, || {
            assert_eq!(current_trace_id(), None, "no span is entered yet");
            let span = tracing::info_span!("outer");
            let _entered = span.enter();
            let id = current_trace_id().unwrap();
            assert_eq!(id.len(), 32);
            let inner = tracing::info_span!("inner");
            assert_eq!(inner.in_scope(current_trace_id).unwrap(), id);
        });
    }

    #[test]
    fn headers_carry_one_trace_to_the_other_side() {
        with_subscriber(Sampler::AlwaysOn, || {
            let client = tracing::info_span!("client");
            let mut headers = HeaderMap::new();
            inject_span(&client, &mut headers);
            assert!(
                headers.get("tracestate").is_none(),
                "empty values are not sent"
            );
            let server = tracing::info_span!(parent: None, "server");
            set_parent(&server, extract(&headers));
            let ids = (
                client.in_scope(current_trace_id),
                server.in_scope(current_trace_id),
            );
            assert!(ids.0.is_some());
            assert_eq!(ids.0, ids.1);
        });
    }

    #[test]
    fn a_job_row_continues_the_trace_that_made_it() {
        with_subscriber(Sampler::AlwaysOn, || {
            let row = tracing::info_span!("request")
                .in_scope(traceparent)
                .unwrap();
            let job = tracing::info_span!(parent: None, "job");
            set_parent(&job, from_traceparent(&row));
            assert_eq!(job.in_scope(current_trace_id).unwrap(), row[3..35]);
            let other = tracing::info_span!(parent: None, "other");
            set_parent(&other, from_traceparent("garbage"));
            assert_ne!(other.in_scope(current_trace_id).unwrap(), row[3..35]);
        });
    }
}
