//! One trace from the client span through every server span.

use mediamesh_telemetry::propagation;
use opentelemetry::trace::{SpanKind, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing::Instrument as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::mesh::{BOTH, Via, start};

#[tokio::test]
async fn client_and_server_spans_form_one_trace() {
    propagation::install();
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exporter.clone())
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("test"))
        .with_filter(
            tracing_subscriber::filter::Targets::new()
                .with_target("mediamesh_mesh", tracing::Level::INFO)
                .with_target("stack", tracing::Level::INFO),
        );
    // For the whole process: a span first met on another test's thread would else stay off for
    // all. Other tests' spans are told apart by their trace.
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();
    for via in BOTH {
        let mesh = start(via).await;
        let root = tracing::info_span!("root");
        let (id, answer) = async {
            (
                propagation::current_trace_id().unwrap(),
                mesh.call("trace", 0).await.unwrap(),
            )
        }
        .instrument(root)
        .await;
        assert_eq!(
            answer.text, id,
            "{via:?}: the handler runs in the caller's trace"
        );

        let of_trace = || -> Vec<_> {
            let mut spans = exporter.get_finished_spans().unwrap();
            spans.retain(|span| span.span_context.trace_id().to_string() == id);
            spans
        };
        // Over the network the attempt stands between; the server hangs from it.
        let expected = if via == Via::Tcp { 4 } else { 3 };
        crate::mesh::eventually("all spans end", || of_trace().len() == expected).await;
        let spans = of_trace();
        let named = |name: &str| spans.iter().find(|span| span.name == name);
        let of_kind = |kind| {
            spans
                .iter()
                .find(|span| span.span_kind == kind && span.name == "mediamesh.media.v1.Echo/Call")
                .unwrap()
        };
        let root = named("root").unwrap();
        let (client, server) = (of_kind(SpanKind::Client), of_kind(SpanKind::Server));
        let attempt = named("rpc.attempt").unwrap_or(client);
        let id_of = |span: &SpanData| span.span_context.span_id();
        assert_eq!(client.parent_span_id, id_of(root), "{via:?}");
        assert_eq!(server.parent_span_id, id_of(attempt), "{via:?}");
        if via == Via::Tcp {
            assert_eq!(attempt.parent_span_id, id_of(client));
            let has = |key| {
                attempt
                    .attributes
                    .iter()
                    .any(|field| field.key.as_str() == key)
            };
            assert!(has("server.address") && has("mediamesh.breaker") && has("mediamesh.outcome"));
        }
        assert_eq!(server.name, "mediamesh.media.v1.Echo/Call");
        let code = server
            .attributes
            .iter()
            .find(|field| field.key.as_str() == "rpc.grpc.status_code");
        assert_eq!(
            code.map(|field| field.value.to_string()).as_deref(),
            Some("0"),
            "{via:?}"
        );
    }
}
