//! W3C trace context, in and out.

use mediamesh_telemetry::propagation;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;

use super::rig::Rig;

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn a_request_continues_its_callers_trace_and_says_so() {
    propagation::install();
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    // For the whole process: a span first met on another test's thread would else stay off for all.
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();
    let rig = Rig::new();
    let parent = format!("00-{TRACE_ID}-b7ad6b7169203331-01");
    let answer = rig
        .get("/v1/mediaItems/missing", &[("traceparent", &parent)])
        .await;
    let answered = answer.header("traceparent");
    assert_eq!(&answered[3..35], TRACE_ID);
    assert_ne!(answered, parent, "the span of the edge, not the caller's");
    assert_eq!(answer.json()["trace_id"], TRACE_ID);
    let fresh = rig.get("/v2/nothing", &[("traceparent", "garbage")]).await;
    assert_eq!(fresh.json()["trace_id"].as_str().unwrap().len(), 32);
    assert_ne!(fresh.json()["trace_id"], TRACE_ID);
}
