//! What goes with every SQL statement: a span below that of the request that runs it, and an end when
//! the caller of a read goes away.

use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel_async::AsyncConnection as _;
use tracing::Span;

use super::{Connection, interrupt::Stop};
use crate::{slow::Watch, statements::Spans};

/// Puts the spans of the statements to come below `parent`, has `watch` note the slow ones, and ends
/// them when told to `stop`.
pub(super) fn follow(
    conn: &mut Connection,
    parent: Span,
    watch: Option<Watch>,
    stop: Option<Stop>,
) {
    conn.set_instrumentation(Statements {
        spans: Spans::new("sqlite", parent, watch),
        stop,
    });
}

/// Lets go of the span: a connection that waits in its pool must not hold it, since a span ends, and
/// its trace is whole, only when nobody holds it any more.
pub(super) fn let_go(conn: &mut Connection) {
    follow(conn, Span::none(), None, None);
}

struct Statements {
    spans: Spans,
    stop: Option<Stop>,
}

// Both events of a statement come on the thread that runs it.
impl Instrumentation for Statements {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        match event {
            InstrumentationEvent::StartQuery { query, .. } => {
                if let Some(stop) = &self.stop {
                    stop.begin();
                }
                self.spans.begin(query);
            }
            InstrumentationEvent::FinishQuery { query, error, .. } => {
                Stop::end();
                self.spans.end(query, error);
            }
            _ => {}
        }
    }
}
