//! Sessions of browsers: an API key is exchanged for a cookie.
//!
//! The cookie holds the id of a session of the cache service. It is `HttpOnly`, so that no script reads
//! it, and of this host alone; what it opens is bound by the API key that it was exchanged for, which
//! is looked at again with every request. A request that changes something must also carry the
//! session's CSRF token, which a foreign page cannot know.
//!
//! - [`cookie`]: the cookie, read, set and cleared
//! - [`csrf`]: which requests with a cookie come from a page of ours
//! - [`lookup`]: a cookie to the caller that it stands for
//! - [`options`]: settings and their defaults
//! - [`routes`]: log in, look, log out

pub(crate) mod cookie;
pub(crate) mod csrf;
pub(crate) mod lookup;
pub(crate) mod options;
pub(crate) mod routes;

/// Where a session is made, shown and ended.
pub(crate) const PATH: &str = "/api/session";
