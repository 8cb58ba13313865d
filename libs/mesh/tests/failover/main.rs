//! Servers die, hang, fail, slow down and are rolled; callers do not notice while one is well.
#![allow(clippy::unwrap_used, missing_docs)]

mod faults;
mod fleet;
mod measured;
mod partition;
mod rules;
mod stalls;
mod starting;
mod streams;
