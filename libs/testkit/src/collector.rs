//! Receives traces by OTLP over gRPC, with the server that the protocol's own definition generates.

use std::{collections::HashMap, sync::Arc};

use anyhow::{Context as _, Result};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, span},
};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, codec::CompressionEncoding};

/// A span as it arrived.
#[derive(Debug, Clone)]
pub struct Span {
    /// `service.name` of the process that made it.
    pub service: String,
    /// Trace, 32 hex digits.
    pub trace_id: String,
    /// Span, 16 hex digits.
    pub span_id: String,
    /// The span above; empty if there is none.
    pub parent_id: String,
    /// What it is called.
    pub name: String,
    /// Attributes that are text or whole numbers.
    pub attributes: HashMap<String, String>,
    /// What happened meanwhile.
    pub events: Vec<Event>,
}

/// Something that happened while a span ran.
#[derive(Debug, Clone)]
pub struct Event {
    /// What it is called.
    pub name: String,
    /// Attributes that are text or whole numbers.
    pub attributes: HashMap<String, String>,
}

/// An OTLP receiver on loopback; ends with the runtime of the test.
#[derive(Debug)]
pub struct Collector {
    endpoint: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    /// Starts one on a port chosen by the system.
    ///
    /// Errors: no port to be had.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port")?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let spans = Arc::default();
        let service = TraceServiceServer::new(Receiver(Arc::clone(&spans)))
            .accept_compressed(CompressionEncoding::Gzip);
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Ok(Self { endpoint, spans })
    }

    /// Where to send traces.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Every span of a trace that has arrived.
    #[must_use]
    pub fn trace(&self, trace_id: &str) -> Vec<Span> {
        let spans = self.spans.lock();
        spans
            .iter()
            .filter(|span| span.trace_id == trace_id)
            .cloned()
            .collect()
    }
}

struct Receiver(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let arrived = request
            .into_inner()
            .resource_spans
            .into_iter()
            .flat_map(spans);
        self.0.lock().extend(arrived);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// The spans of one process.
fn spans(of: ResourceSpans) -> impl Iterator<Item = Span> {
    let resource = text(of.resource.unwrap_or_default().attributes);
    let service = resource.get("service.name").cloned().unwrap_or_default();
    let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
    spans.map(move |span| Span {
        service: service.clone(),
        trace_id: hex::encode(span.trace_id),
        span_id: hex::encode(span.span_id),
        parent_id: hex::encode(span.parent_span_id),
        name: span.name,
        attributes: text(span.attributes),
        events: span.events.into_iter().map(event).collect(),
    })
}

fn event(of: span::Event) -> Event {
    Event {
        name: of.name,
        attributes: text(of.attributes),
    }
}

/// Attributes that are text or whole numbers.
fn text(attributes: Vec<KeyValue>) -> HashMap<String, String> {
    let pairs = attributes.into_iter();
    let known = pairs.filter_map(|pair| match pair.value?.value? {
        Value::StringValue(text) => Some((pair.key, text)),
        Value::IntValue(number) => Some((pair.key, number.to_string())),
        _ => None,
    });
    known.collect()
}
