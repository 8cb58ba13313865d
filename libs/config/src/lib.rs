//! Loading configuration: defaults, then a TOML file, then the environment, then flags.
//!
//! - [`path`](mod@path): where a value stands
//! - [`layer`]: one source of values
//! - [`load`](mod@load): merging layers into a typed value, with every fault at once
//! - [`print`](mod@print): the effective values and where each came from
//! - [`reference`](mod@reference): what can be set, in Markdown

pub mod layer;
pub mod load;
pub mod path;
pub mod print;
pub mod reference;

pub use layer::{Layer, Source};
pub use load::{Faults, Loaded, load};
pub use path::Path;
