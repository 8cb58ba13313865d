//! Stops a running SQLite statement whose caller has gone: the only unsafe code of the project.
//!
//! diesel reaches neither a connection's handle nor its progress handler, so SQLite itself is asked
//! to give every connection it opens ours. The handler has no data of its own: it looks whether the
//! statement that this thread runs, if any, is to [`Stop`].
#![allow(unsafe_code)]

use std::{
    cell::RefCell,
    ffi::{c_char, c_int, c_void},
    ptr,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
    },
};

use libsqlite3_sys as sqlite;

/// Instructions of SQLite's virtual machine between two looks: well under a millisecond.
const INSTRUCTIONS: c_int = 10_000;

thread_local! {
    static RUNNING: RefCell<Option<Stop>> = const { RefCell::new(None) };
}

/// Tells the statements of one operation to end.
#[derive(Clone, Default)]
pub(super) struct Stop {
    told: Arc<AtomicBool>,
}

/// Tells the operation to end once it is dropped, as it is when its caller goes away.
pub(super) struct StopOnDrop(Stop);

impl Stop {
    pub(super) fn on_drop(&self) -> StopOnDrop {
        StopOnDrop(self.clone())
    }

    /// This thread begins a statement of the operation.
    pub(super) fn begin(&self) {
        RUNNING.with_borrow_mut(|running| *running = Some(self.clone()));
    }

    /// This thread ended its statement.
    pub(super) fn end() {
        RUNNING.with_borrow_mut(|running| *running = None);
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.told.store(true, Ordering::Relaxed);
    }
}

/// Makes the connections that are opened from now on able to stop.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: `opened` has the signature SQLite asks for and lives as long as the process.
        let code = unsafe { sqlite::sqlite3_auto_extension(Some(opened)) };
        if code != sqlite::SQLITE_OK {
            tracing::warn!(
                code,
                "statements of callers that go away will run to their end"
            );
        }
    });
}

/// Called by SQLite for each connection it has opened, before anyone else has it.
unsafe extern "C" fn opened(
    connection: *mut sqlite::sqlite3,
    _message: *mut *mut c_char,
    _routines: *const sqlite::sqlite3_api_routines,
) -> c_int {
    // SAFETY: SQLite hands over a valid connection that only this thread knows; `is_to_stop` never
    // reads the null it gets and touches no connection, as the handler must not.
    unsafe {
        sqlite::sqlite3_progress_handler(
            connection,
            INSTRUCTIONS,
            Some(is_to_stop),
            ptr::null_mut(),
        );
    }
    sqlite::SQLITE_OK
}

/// Called by SQLite on the thread that runs a statement; anything but 0 ends the statement.
unsafe extern "C" fn is_to_stop(_data: *mut c_void) -> c_int {
    // Never a panic across the border: a thread that is ending has no statement to stop.
    let told = RUNNING.try_with(|running| {
        let running = running.try_borrow().ok()?;
        Some(running.as_ref()?.told.load(Ordering::Relaxed))
    });
    c_int::from(matches!(told, Ok(Some(true))))
}
