//! Protocol and domain types, and all validation.
//!
//! - [`request`]: what a request means, with every violation at once
//! - [`keys`]: API keys, both ways
//! - [`text`]: rules for names, folders, tags and captions
//! - [`tree`]: trees of jobs, both ways
//! - [`answer`]: items, renditions, folders and jobs as messages

pub mod answer;
pub mod keys;
pub mod request;
pub mod text;
pub mod tree;
