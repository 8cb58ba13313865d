//! What goes with every SQL statement: a span below that of the request that runs it, and an end when
//! the caller of a read goes away.

use std::fmt::Write as _;

use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel_async::AsyncConnection as _;
use tracing::Span;

use super::{Connection, interrupt::Stop};

/// Puts the spans of the statements to come below `parent`, and ends them when told to `stop`.
pub(super) fn follow(conn: &mut Connection, parent: Span, stop: Option<Stop>) {
    conn.set_instrumentation(Statements {
        parent,
        stop,
        current: None,
    });
}

/// Lets go of the span: a connection that waits in its pool must not hold it, since a span ends, and
/// its trace is whole, only when nobody holds it any more.
pub(super) fn let_go(conn: &mut Connection) {
    follow(conn, Span::none(), None);
}

struct Statements {
    parent: Span,
    stop: Option<Stop>,
    current: Option<Span>,
}

// Both events of a statement come on the thread that runs it.
impl Instrumentation for Statements {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match event {
            InstrumentationEvent::StartQuery { query, .. } => {
                if let Some(stop) = &self.stop {
                    stop.begin();
                }
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
                    db.system.name = "sqlite",
                    db.query.text = statement,
                ));
            }
            InstrumentationEvent::FinishQuery { error, .. } => {
                Stop::end();
                if let (Some(span), Some(error)) = (self.current.take(), error) {
                    tracing::debug!(parent: &span, %error, "statement failed");
                }
            }
            _ => {}
        }
    }
}
