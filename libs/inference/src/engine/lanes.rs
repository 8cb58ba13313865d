//! A fixed number of things lent out one at a time.

use parking_lot::{Condvar, Mutex};

/// Lends its values; a borrower waits while all are out.
pub(crate) struct Lanes<T> {
    free: Mutex<Vec<T>>,
    returned: Condvar,
}

impl<T> Lanes<T> {
    pub(crate) fn new(values: Vec<T>) -> Self {
        Self {
            free: Mutex::new(values),
            returned: Condvar::new(),
        }
    }

    /// Waits for a value. Blocking.
    pub(crate) fn take(&self) -> Lane<'_, T> {
        let mut free = self.free.lock();
        loop {
            if let Some(value) = free.pop() {
                return Lane {
                    lanes: self,
                    value: Some(value),
                };
            }
            self.returned.wait(&mut free);
        }
    }
}

/// A lent value; it goes back when dropped, also by a panic.
pub(crate) struct Lane<'a, T> {
    lanes: &'a Lanes<T>,
    value: Option<T>,
}

impl<T> std::ops::Deref for Lane<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value.as_ref().expect("held until drop")
    }
}

impl<T> std::ops::DerefMut for Lane<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("held until drop")
    }
}

impl<T> Drop for Lane<'_, T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.lanes.free.lock().push(value);
            self.lanes.returned.notify_one();
        }
    }
}
