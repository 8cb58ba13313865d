//! A span for every SQL statement, below that of the request that runs it, and a look at the clock.

use diesel::connection::{DebugQuery, Instrumentation, InstrumentationEvent};
use diesel_async::AsyncConnection;
use tracing::Span;

use crate::slow::{self, Watch};

/// Puts the spans of the statements to come below `parent`, and has `watch` note the slow ones;
/// `system` is the database's name in OpenTelemetry.
pub(crate) fn follow<C: AsyncConnection>(
    conn: &mut C,
    system: &'static str,
    parent: Span,
    watch: Option<Watch>,
) {
    conn.set_instrumentation(Spans::new(system, parent, watch));
}

/// Lets go of the span: a connection that waits in its pool must not hold it, since a span ends, and
/// its trace is whole, only when nobody holds it any more.
pub(crate) fn let_go<C: AsyncConnection>(conn: &mut C, system: &'static str) {
    follow(conn, system, Span::none(), None);
}

/// Spans of the statements of one operation.
pub(crate) struct Spans {
    system: &'static str,
    parent: Span,
    watch: Option<Watch>,
    current: Option<Span>,
}

impl Spans {
    pub(crate) fn new(system: &'static str, parent: Span, watch: Option<Watch>) -> Self {
        Self {
            system,
            parent,
            watch,
            current: None,
        }
    }

    /// A statement begins.
    pub(crate) fn begin(&mut self, query: &dyn DebugQuery) {
        if let Some(watch) = &mut self.watch {
            watch.begin();
        }
        // The text is not even written where nobody receives such spans.
        if !tracing::span_enabled!(tracing::Level::DEBUG) {
            return;
        }
        let statement = slow::text(query);
        let statement = statement.as_str();
        let operation = statement.split_whitespace().next().unwrap_or("sql");
        self.current = Some(tracing::debug_span!(
            parent: &self.parent,
            "sql",
            otel.name = operation,
            db.operation.name = operation,
            otel.kind = "client",
            db.system.name = self.system,
            db.query.text = statement,
        ));
    }

    /// The statement ended.
    pub(crate) fn end(&mut self, query: &dyn DebugQuery, error: Option<&diesel::result::Error>) {
        if let Some(watch) = &mut self.watch {
            watch.end(query, error.is_some(), &self.parent);
        }
        if let (Some(span), Some(error)) = (self.current.take(), error) {
            tracing::debug!(parent: &span, %error, "statement failed");
        }
    }
}

impl Instrumentation for Spans {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match event {
            InstrumentationEvent::StartQuery { query, .. } => self.begin(query),
            InstrumentationEvent::FinishQuery { query, error, .. } => self.end(query, error),
            _ => {}
        }
    }
}
