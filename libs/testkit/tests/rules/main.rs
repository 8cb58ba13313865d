//! The rules of the house that a machine can hold: architecture, sources, dependencies, documents.
#![allow(clippy::unwrap_used)]

mod architecture;
mod dependencies;
mod documents;
mod sources;
mod workspace;
