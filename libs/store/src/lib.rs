//! Tables, store traits and their implementations on SQLite and PostgreSQL.
//!
//! - [`advise`]: what could be better about a database, and the [`Advisor`] trait
//! - [`error`]: what a store can answer instead of a result
//! - [`database`]: opening, locking and migrating a database; its connection pools
//! - [`media`]: items, renditions and folders, and the [`MediaStore`] trait
//! - [`job`]: background work and the [`JobStore`] trait
//! - [`integrity`]: what should lie in the storage, and the [`IntegrityStore`] trait
//! - [`limit`]: how many jobs run at once and how often they start
//! - [`schedule`]: work that comes again and again, and the [`ScheduleStore`] trait
//! - [`key`]: API keys, tenants, and the [`KeyStore`] trait
//! - [`search`]: full text, filters, embeddings, and the [`SearchStore`] trait
//! - [`vectors`]: vectors that the database itself searches, and the [`VectorStore`] trait
//! - [`history`]: what each user searched for, and the [`HistoryStore`] trait
//! - [`pool`]: how many connections are in use, and who waits for one
//! - [`request_log`]: requests that ended, and the [`RequestLogStore`] trait
//! - [`slow`]: statements that take long, and their plans
//! - [`sqlite`], [`postgres`]: the traits on one database each, from one source of queries

// `sql` is compiled for each backend: docs/adr/0011-one-query-source-for-two-databases.md
#![allow(clippy::duplicate_mod)]

pub mod advise;
pub mod database;
pub mod error;
pub mod history;
pub mod integrity;
pub mod job;
pub mod key;
pub mod limit;
pub mod media;
pub mod pool;
pub mod postgres;
pub mod request_log;
pub mod schedule;
pub mod search;
pub mod slow;
pub mod sqlite;
pub mod vectors;

mod full_text;
mod statements;

pub use advise::Advisor;
pub use database::{Database, DatabaseOptions};
pub use error::{Error, Result};
pub use history::HistoryStore;
pub use integrity::IntegrityStore;
pub use job::JobStore;
pub use key::KeyStore;
pub use media::MediaStore;
pub use request_log::RequestLogStore;
pub use schedule::ScheduleStore;
pub use search::SearchStore;
pub use vectors::VectorStore;
