//! One trace from the client span through every server span.

use mediamesh_telemetry::propagation;
use opentelemetry::trace::{SpanKind, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use tracing::Instrument as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::mesh::{BOTH, start};

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
        crate::mesh::eventually("three spans end", || of_trace().len() == 3).await;
        let spans = of_trace();
        let find = |kind| spans.iter().find(|span| span.span_kind == kind).unwrap();
        let (root, client, server) = (
            find(SpanKind::Internal),
            find(SpanKind::Client),
            find(SpanKind::Server),
        );
        assert_eq!(
            client.parent_span_id,
            root.span_context.span_id(),
            "{via:?}"
        );
        assert_eq!(
            server.parent_span_id,
            client.span_context.span_id(),
            "{via:?}"
        );
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
