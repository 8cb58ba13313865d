//! A span for every SQL statement, below that of the request that runs it.

use std::fmt::Write as _;

use diesel::connection::{DebugQuery, Instrumentation, InstrumentationEvent};
use diesel_async::AsyncConnection;
use tracing::Span;

/// Puts the spans of the statements to come below `parent`; `system` is the database's name in
/// OpenTelemetry.
pub(crate) fn follow<C: AsyncConnection>(conn: &mut C, system: &'static str, parent: Span) {
    conn.set_instrumentation(Spans::new(system, parent));
}

/// Lets go of the span: a connection that waits in its pool must not hold it, since a span ends, and
/// its trace is whole, only when nobody holds it any more.
pub(crate) fn let_go<C: AsyncConnection>(conn: &mut C, system: &'static str) {
    follow(conn, system, Span::none());
}

/// Spans of the statements of one operation.
pub(crate) struct Spans {
    system: &'static str,
    parent: Span,
    current: Option<Span>,
}

impl Spans {
    pub(crate) fn new(system: &'static str, parent: Span) -> Self {
        Self {
            system,
            parent,
            current: None,
        }
    }

    /// A statement begins.
    pub(crate) fn begin(&mut self, query: &dyn DebugQuery) {
        // The text is not even written where nobody receives such spans.
        if !tracing::span_enabled!(tracing::Level::DEBUG) {
            return;
        }
        let mut text = String::new();
        // Printing a query cannot fail; were it to, the span would only lack its text.
        let _ = write!(text, "{query}");
        // Bound values may be private: keep the statement only.
        let statement = text.split(" -- binds:").next().unwrap_or_default();
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
    pub(crate) fn end(&mut self, error: Option<&diesel::result::Error>) {
        if let (Some(span), Some(error)) = (self.current.take(), error) {
            tracing::debug!(parent: &span, %error, "statement failed");
        }
    }
}

impl Instrumentation for Spans {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match event {
            InstrumentationEvent::StartQuery { query, .. } => self.begin(query),
            InstrumentationEvent::FinishQuery { error, .. } => self.end(error),
            _ => {}
        }
    }
}
