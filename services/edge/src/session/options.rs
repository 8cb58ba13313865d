//! Settings of the cookie.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The cookie of sessions; how long they live is in `cache.sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionCookieOptions {
    /// Name of the cookie. A secure one is called `__Host-` and this, which binds it to the host.
    pub cookie_name: String,
    /// Whether browsers send it over TLS only: `auto` (if the proxy that ends TLS says
    /// `X-Forwarded-Proto: https`), `always` or `never`.
    pub secure: Secure,
    /// `lax` (sent when somebody follows a link from another site to here) or `strict` (not even
    /// then).
    pub same_site: SameSite,
}

/// When the cookie is secure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Secure {
    /// As the proxy says.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Which navigations from other sites carry the cookie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// Links.
    #[default]
    Lax,
    /// None.
    Strict,
}

impl Default for SessionCookieOptions {
    fn default() -> Self {
        Self {
            cookie_name: "mediamesh_session".to_owned(),
            secure: Secure::default(),
            same_site: SameSite::default(),
        }
    }
}

impl SessionCookieOptions {
    /// Every fault of these settings, one sentence each.
    pub(crate) fn validate(&self) -> Vec<String> {
        // RFC 6265, section 4.1.1: a token; and browsers hold names with these prefixes to rules
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let name = &self.cookie_name;
        let prefixed = name.starts_with("__");
        match !name.is_empty() && name.len() <= 64 && name.bytes().all(good) && !prefixed {
            true => Vec::new(),
            false => vec![format!(
                "edge.session.cookie_name is {name:?}; it must be 1 to 64 letters, digits, `-`, `_` \
                 and `.`, not beginning with `__`"
            )],
        }
    }
}
