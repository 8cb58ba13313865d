//! A real Jaeger as a process of its own.

use std::{
    collections::HashMap, fs, net::SocketAddr, path::PathBuf, process::Command, time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{Event, Http, Span, address::Address, process::Process, require};

/// Variable with the path of the binary.
const BINARY: &str = "MEDIAMESH_TEST_JAEGER";
/// Longest wait for it to serve; it takes less than a second.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for a trace: exporters send every few seconds.
const TRACE_PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// A Jaeger that keeps traces in memory: OTLP over gRPC in, the query API out. Dropping it kills it.
#[derive(Debug)]
pub struct Jaeger {
    // before the folder it writes to
    process: Process,
    query: Http,
    otlp: SocketAddr,
    _scratch: TempDir,
    _address: Address,
}

impl Jaeger {
    /// The binary to test with, if there is one; says on standard error that the test skips if not.
    ///
    /// # Panics
    /// If `jaeger` is required and missing.
    #[must_use]
    pub fn binary() -> Option<PathBuf> {
        let path = std::env::var_os(BINARY).map(PathBuf::from);
        require::found(
            "jaeger",
            path,
            "make e2e-jaeger builds one and sets MEDIAMESH_TEST_JAEGER",
        )
    }

    /// Starts it on a loopback address of its own and waits until it serves.
    ///
    /// Errors: it does not start; the message has its log.
    pub async fn start(binary: PathBuf) -> Result<Self> {
        let scratch = tempfile::Builder::new()
            .prefix("mediamesh-jaeger-")
            .tempdir()?;
        let address = Address::claim()?;
        let [otlp, query, grpc] = [0, 1, 2].map(|slot| address.port(0, slot));
        let config = scratch.path().join("config.yaml");
        fs::write(&config, configuration(otlp, query, grpc))?;
        let mut command = Command::new(binary);
        command.arg("--config").arg(&config);
        let process = Process::spawn(command, &scratch.path().join("jaeger.log"))?;
        let mut jaeger = Self {
            process,
            query: Http::new(&query.to_string())?,
            otlp,
            _scratch: scratch,
            _address: address,
        };
        jaeger.serves().await?;
        Ok(jaeger)
    }

    async fn serves(&mut self) -> Result<()> {
        let start = Instant::now();
        while self.query.get("/api/services").await.is_err() {
            let log = || format!("jaeger does not serve; log:\n{}", self.process.log());
            if start.elapsed() > START_PATIENCE {
                bail!(log());
            }
            tokio::time::sleep(POLL).await;
            let log = self.process.log();
            self.process.runs().context(log)?;
        }
        Ok(())
    }

    /// Where to send traces.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.otlp)
    }

    /// The spans of a trace that Jaeger has; none if it does not know it.
    ///
    /// Errors: the query API does not answer as documented.
    pub async fn trace(&self, trace_id: &str) -> Result<Vec<Span>> {
        let answer = self.query.get(&format!("/api/traces/{trace_id}")).await?;
        if answer.status == reqwest::StatusCode::NOT_FOUND {
            return Ok(Vec::new());
        }
        let found: Found = serde_json::from_value(answer.ok()?)?;
        Ok(found.data.into_iter().flat_map(spans).collect())
    }

    /// Waits until a trace has what `enough` asks for, and returns it.
    ///
    /// Errors: it does not in time; the message has the spans.
    pub async fn wait(
        &self,
        trace_id: &str,
        enough: impl Fn(&[Span]) -> bool,
    ) -> Result<Vec<Span>> {
        let start = Instant::now();
        loop {
            let spans = self.trace(trace_id).await?;
            if enough(&spans) {
                return Ok(spans);
            }
            if start.elapsed() > TRACE_PATIENCE {
                bail!("trace {trace_id} is not whole:\n{}", described(&spans));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Lines with id, parent, process and name of each span, for the message of a failed test.
pub(crate) fn described(spans: &[Span]) -> String {
    let line = |span: &Span| {
        let Span {
            span_id,
            parent_id,
            service,
            name,
            attributes,
            ..
        } = span;
        format!("{span_id} <- {parent_id:16} {service} {name} {attributes:?}\n")
    };
    spans.iter().map(line).collect()
}

fn configuration(otlp: SocketAddr, query: SocketAddr, grpc: SocketAddr) -> String {
    format!(
        r#"
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces:
      receivers: [otlp]
      exporters: [jaeger_storage_exporter]
  telemetry:
    metrics: {{level: none}}
extensions:
  jaeger_query:
    storage: {{traces: memory}}
    http: {{endpoint: "{query}"}}
    grpc: {{endpoint: "{grpc}"}}
  jaeger_storage:
    backends:
      memory: {{memory: {{max_traces: 10000}}}}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "{otlp}"}}
exporters:
  jaeger_storage_exporter: {{trace_storage: memory}}
"#
    )
}

/// Answer of `/api/traces/{id}`, as far as it is read.
#[derive(Deserialize)]
struct Found {
    data: Vec<Trace>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    spans: Vec<Recorded>,
    processes: HashMap<String, Maker>,
}

#[derive(Deserialize)]
struct Recorded {
    #[serde(rename = "traceID")]
    trace_id: String,
    #[serde(rename = "spanID")]
    span_id: String,
    #[serde(rename = "operationName")]
    name: String,
    #[serde(rename = "processID")]
    process: String,
    references: Vec<Reference>,
    tags: Vec<Tag>,
    #[serde(default)]
    logs: Vec<Log>,
}

#[derive(Deserialize)]
struct Log {
    fields: Vec<Tag>,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(rename = "refType")]
    kind: String,
    #[serde(rename = "spanID")]
    span_id: String,
}

#[derive(Deserialize)]
struct Tag {
    key: String,
    value: Value,
}

#[derive(Deserialize)]
struct Maker {
    #[serde(rename = "serviceName")]
    service: String,
}

fn spans(trace: Trace) -> impl Iterator<Item = Span> {
    let Trace { spans, processes } = trace;
    spans.into_iter().map(move |span| {
        let parent = span.references.iter().find(|it| it.kind == "CHILD_OF");
        Span {
            service: processes
                .get(&span.process)
                .map(|maker| maker.service.clone())
                .unwrap_or_default(),
            parent_id: parent.map(|it| it.span_id.clone()).unwrap_or_default(),
            trace_id: span.trace_id,
            span_id: span.span_id,
            name: span.name,
            attributes: texts(span.tags),
            events: span.logs.into_iter().map(event).collect(),
        }
    })
}

fn event(log: Log) -> Event {
    let mut attributes = texts(log.fields);
    Event {
        name: attributes.remove("event").unwrap_or_default(),
        attributes,
    }
}

fn texts(tags: Vec<Tag>) -> HashMap<String, String> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    tags.into_iter()
        .map(|tag| (tag.key, text(tag.value)))
        .collect()
}
