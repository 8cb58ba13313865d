//! One trace from the client span through every server span.

use std::sync::OnceLock;
use std::time::Duration;

use mediamesh_mesh::policy::ServicePolicyOptions;
use mediamesh_mesh::{PolicyOptions, ServiceName};
use mediamesh_telemetry::propagation;
use opentelemetry::trace::{SpanKind, TracerProvider as _};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing::Instrument as _;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::mesh::{BOTH, Mesh, Via, start, start_with};

/// Where every span of these tests goes.
///
/// For the whole process: a span first met on another test's thread would else stay off for all. Other
/// tests' spans are told apart by their trace.
fn exporter() -> &'static InMemorySpanExporter {
    static EXPORTER: OnceLock<InMemorySpanExporter> = OnceLock::new();
    EXPORTER.get_or_init(|| {
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
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
            .unwrap();
        exporter
    })
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let mut fields = span.attributes.iter();
    let field = fields.find(|field| field.key.as_str() == key)?;
    Some(field.value.to_string())
}

/// The attempts of one call, in the order in which they began.
async fn attempts_of(mesh: &Mesh, what: &str) -> Vec<SpanData> {
    let root = tracing::info_span!("root of attempts");
    let id = async {
        let id = propagation::current_trace_id().unwrap();
        let _ = mesh.call(what, 0).await;
        id
    }
    .instrument(root)
    .await;
    let of_trace = || {
        let mut spans = exporter().get_finished_spans().unwrap();
        spans.retain(|span| span.span_context.trace_id().to_string() == id);
        spans
    };
    let ended = || {
        of_trace()
            .iter()
            .any(|span| span.name == "root of attempts")
    };
    crate::mesh::eventually("the call's span ends", ended).await;
    let mut attempts = of_trace();
    attempts.retain(|span| span.name == "rpc.attempt");
    attempts.sort_by_key(|span| span.start_time);
    attempts
}

#[tokio::test]
async fn an_attempt_says_in_which_state_the_breaker_let_it_in() {
    exporter();
    // Probes are found by their moment: no lot is drawn.
    let mut options = PolicyOptions::default();
    let mut service = ServicePolicyOptions::default();
    service.retry_policy.max_attempts = Some(1);
    service.outlier_detection.consecutive_failures = Some(2);
    service.outlier_detection.base_ejection_time_ms = Some(50);
    service.outlier_detection.max_ejection_time_ms = Some(50);
    service.outlier_detection.max_ejection_time_jitter = Some(0.0);
    options.services.insert(ServiceName::Media, service);
    let mesh = start_with(Via::Tcp, options).await;
    let open_time = Duration::from_millis(60);
    let says = |attempts: &[SpanData]| -> Vec<[String; 2]> {
        let said = |key| move |span: &SpanData| attribute(span, key).unwrap_or_default();
        let fields = |span: &SpanData| {
            [
                said("mediamesh.breaker")(span),
                said("mediamesh.outcome")(span),
            ]
        };
        attempts.iter().map(fields).collect()
    };
    let mut seen = Vec::new();
    // two failures open it; an open one lets nobody in; then one probe fails, and one succeeds
    for (what, wait) in [
        ("down", false),
        ("down", false),
        ("trace", false),
        ("down", true),
        ("trace", true),
        ("trace", false),
    ] {
        if wait {
            tokio::time::sleep(open_time).await;
        }
        seen.extend(says(&attempts_of(&mesh, what).await));
    }
    let expected = [
        ["closed", "UNAVAILABLE"],
        ["closed", "UNAVAILABLE"],
        ["", "no endpoint"],
        ["half_open", "UNAVAILABLE"],
        ["half_open", "answered"],
        ["closed", "answered"],
    ];
    assert_eq!(seen, expected.map(|fields| fields.map(str::to_owned)));
}

#[tokio::test]
async fn client_and_server_spans_form_one_trace() {
    let exporter = exporter();
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
            let said = |key| attribute(attempt, key);
            assert_eq!(said("mediamesh.breaker").as_deref(), Some("closed"));
            assert!(said("server.address").is_some() && said("mediamesh.outcome").is_some());
        }
        assert_eq!(server.name, "mediamesh.media.v1.Echo/Call");
        let code = attribute(server, "rpc.grpc.status_code");
        assert_eq!(code.as_deref(), Some("0"), "{via:?}");
    }
}
