//! Installing the subscriber, and flushing it before the process ends.

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use crate::format::{JsonEvents, PrettyEvents};
use crate::options::{LogFormat, TelemetryOptions};
use crate::propagation;

/// How long [`TelemetryGuard::shutdown`] may take: a dead collector must not hold the exit up.
pub const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Why telemetry could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log filter does not parse.
    #[error("log filter `{filter}` is not valid")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What the parser said.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The sample ratio is outside 0 to 1.
    #[error("sample ratio is {0}; it must be between 0 and 1")]
    SampleRatio(f64),
    /// The OTLP exporter could not be built.
    #[error("trace exporter for `{endpoint}` could not be built")]
    Exporter {
        /// The endpoint as given.
        endpoint: String,
        /// What the exporter said.
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// Another subscriber is already installed in this process.
    #[error("a tracing subscriber is already installed")]
    AlreadyInstalled(#[source] tracing_subscriber::util::TryInitError),
    /// The filter could not be replaced because the subscriber is gone.
    #[error("log filter could not be replaced")]
    Reload(#[source] reload::Error),
}

/// Keeps telemetry alive; flushes it with [`TelemetryGuard::shutdown`].
#[derive(Debug)]
#[must_use = "spans still queued are lost unless the guard is shut down"]
pub struct TelemetryGuard {
    provider: SdkTracerProvider,
    filter: reload::Handle<EnvFilter, Registry>,
}

impl TelemetryGuard {
    /// Replaces the log filter of the running process.
    ///
    /// Errors: [`Error::Filter`] if it does not parse; the old filter then stays.
    pub fn set_log_filter(&self, filter: &str) -> Result<(), Error> {
        self.filter
            .reload(parse_filter(filter)?)
            .map_err(Error::Reload)
    }

    /// Returns the log filter now in force.
    pub fn log_filter(&self) -> String {
        self.filter
            .with_current(ToString::to_string)
            .unwrap_or_default()
    }

    /// Exports what is queued and stops; takes at most [`SHUTDOWN_LIMIT`].
    ///
    /// Blocking: the export runs on the blocking pool, so it works on every kind of runtime.
    pub async fn shutdown(self) {
        let provider = self.provider;
        let flush =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(SHUTDOWN_LIMIT));
        match tokio::time::timeout(SHUTDOWN_LIMIT, flush).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "traces were not flushed"),
            Ok(Err(error)) => tracing::warn!(%error, "trace flush panicked"),
            Err(_) => tracing::warn!(limit = ?SHUTDOWN_LIMIT, "traces were not flushed in time"),
        }
    }
}

/// Installs the process-wide subscriber and propagators.
///
/// Trace ids are made with or without an exporter, so that logs, errors and job rows carry one.
/// Errors: a filter or ratio that is not valid, an endpoint that does not parse, a second call.
/// Must run inside a tokio runtime when an endpoint is set: the exporter connects lazily on it.
pub fn init(options: &TelemetryOptions) -> Result<TelemetryGuard, Error> {
    let provider = tracer_provider(options)?;
    let (filter, filter_handle) = reload::Layer::new(parse_filter(&options.log_filter)?);
    let colours = std::io::stderr().is_terminal();
    let logs = match options.log_format {
        LogFormat::Pretty => tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(colours)
            .event_format(PrettyEvents::new(colours))
            .boxed(),
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .event_format(JsonEvents)
            .fmt_fields(tracing_subscriber::fmt::format::JsonFields::new())
            .boxed(),
    };
    let traces = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("mediamesh"))
        .with_filter(trace_filter(options.otlp_endpoint.is_some()));

    tracing_subscriber::registry()
        // The mesh's spans would be in each line or not as sampling has it: logs carry its ids.
        .with(logs.with_filter(filter.and(filter_fn(|metadata| {
            metadata.is_event() || !metadata.target().starts_with("mediamesh_mesh")
        }))))
        .with(traces)
        .try_init()
        .map_err(Error::AlreadyInstalled)?;
    propagation::install();
    propagation::set_received(options.otlp_endpoint.is_some());
    opentelemetry::global::set_tracer_provider(provider.clone());
    Ok(TelemetryGuard {
        provider,
        filter: filter_handle,
    })
}

/// What becomes a span, whatever the log filter says: ids must not depend on log levels.
///
/// Spans of statements and index scans are made only if somebody receives them. The transport
/// crates are left out because the exporter itself runs on them.
pub(crate) fn trace_filter(exported: bool) -> Targets {
    let ours = if exported {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    };
    [
        "h2",
        "hyper",
        "hyper_util",
        "tonic",
        "tower",
        "rustls",
        "opentelemetry",
        "opentelemetry_sdk",
        "opentelemetry_otlp",
    ]
    .into_iter()
    .fold(
        Targets::new()
            .with_default(LevelFilter::INFO)
            .with_target("mediamesh", ours),
        |targets, name| targets.with_target(name, LevelFilter::OFF),
    )
}

fn parse_filter(filter: &str) -> Result<EnvFilter, Error> {
    let parsed = EnvFilter::builder()
        .parse(filter)
        .map_err(|source| Error::Filter {
            filter: filter.to_owned(),
            source,
        })?;
    // The exporter's own news are for those who ask for them.
    Ok(match filter.contains("opentelemetry") {
        true => parsed,
        false => parsed.add_directive(
            "opentelemetry=warn"
                .parse()
                .expect("a target and a level are a directive"),
        ),
    })
}

fn tracer_provider(options: &TelemetryOptions) -> Result<SdkTracerProvider, Error> {
    if !(0.0..=1.0).contains(&options.sample_ratio) {
        return Err(Error::SampleRatio(options.sample_ratio));
    }
    let resource = Resource::builder()
        .with_service_name(options.service_name.clone())
        .with_attribute(opentelemetry::KeyValue::new(
            "service.version",
            env!("CARGO_PKG_VERSION"),
        ))
        .build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let Some(endpoint) = &options.otlp_endpoint else {
        // Nothing would read the spans: ids are still made, attributes are not collected.
        return Ok(builder.with_sampler(Sampler::AlwaysOff).build());
    };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint.clone())
        .with_timeout(SHUTDOWN_LIMIT)
        .build()
        .map_err(|source| Error::Exporter {
            endpoint: endpoint.clone(),
            source,
        })?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(options.sample_ratio)));
    Ok(builder
        .with_sampler(sampler)
        .with_batch_exporter(exporter)
        .build())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_refused_by_name() {
        let error = parse_filter("mediamesh=loud").unwrap_err();
        assert_eq!(
            error.to_string(),
            "log filter `mediamesh=loud` is not valid"
        );
    }

    #[test]
    fn a_ratio_outside_zero_to_one_is_refused() {
        let options = TelemetryOptions {
            sample_ratio: 1.5,
            ..TelemetryOptions::default()
        };
        assert!(matches!(
            tracer_provider(&options),
            Err(Error::SampleRatio(_))
        ));
    }
}
