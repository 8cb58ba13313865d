//! Addresses of endpoints as people write them.

use std::fmt;
use std::sync::Arc;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// The endpoint as given is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "endpoint `{endpoint}` is not valid, expected e.g. `http://127.0.0.1:50051` or `dns:///search:50051`: {why}"
)]
pub struct EndpointError {
    endpoint: String,
    why: &'static str,
}

impl EndpointError {
    /// Reads an endpoint as it is read when it is registered; `tls` is whether `mesh.tls` is set.
    ///
    /// Errors: what is wrong with it, without what is secret in it.
    pub(crate) fn check(endpoint: &str, tls: bool) -> Result<(), Self> {
        Target::parse(endpoint, tls).map(drop)
    }
}

/// Where one server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    scheme: Scheme,
    authority: Authority,
    port: u16,
    /// The name this address was resolved from, which a certificate proves.
    name: Option<Arc<str>>,
}

/// Where endpoints come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// This one.
    Fixed(Address),
    /// Every address of a name, looked up again and again; gRPC's name syntax.
    Dns { host: String, port: u16, tls: bool },
}

impl Target {
    /// Reads `http://host:port`, `https://host:port` or `dns:///host:port`.
    ///
    /// `tls` says how endpoints of a name are spoken to; all others must say the same.
    pub(crate) fn parse(endpoint: &str, tls: bool) -> Result<Self, EndpointError> {
        let fail = |why| EndpointError {
            endpoint: without_user(endpoint),
            why,
        };
        if endpoint.contains('@') {
            return Err(fail("it must not have a user or password"));
        }
        if let Some(name) = endpoint.strip_prefix("dns:") {
            let name = name.strip_prefix("///").unwrap_or(name);
            let authority: Authority = name.parse().map_err(|_| fail("it is no host and port"))?;
            let port = authority
                .port_u16()
                .ok_or_else(|| fail("the port is missing"))?;
            return Ok(Self::Dns {
                host: authority.host().to_owned(),
                port,
                tls,
            });
        }
        let uri: Uri = endpoint.parse().map_err(|_| fail("it is no URI"))?;
        let parts = uri.into_parts();
        let scheme = parts.scheme.ok_or_else(|| fail("the scheme is missing"))?;
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(fail("the scheme must be http, https or dns"));
        }
        match (scheme == Scheme::HTTPS, tls) {
            (false, true) => return Err(fail("mesh.tls is set, so it must be https or dns")),
            (true, false) => return Err(fail("https needs mesh.tls")),
            _ => {}
        }
        if parts
            .path_and_query
            .is_some_and(|path| path.as_str() != "/")
        {
            return Err(fail("it must not have a path"));
        }
        let authority = parts.authority.ok_or_else(|| fail("the host is missing"))?;
        let default = if scheme == Scheme::HTTPS { 443 } else { 80 };
        let port = authority.port_u16().unwrap_or(default);
        Ok(Self::Fixed(Address {
            scheme,
            authority,
            port,
            name: None,
        }))
    }
}

/// The endpoint as it may be shown.
fn without_user(endpoint: &str) -> String {
    let Some((before, host)) = endpoint.rsplit_once('@') else {
        return endpoint.to_owned();
    };
    let scheme = before.find("//").map_or("", |at| &before[..at + 2]);
    format!("{scheme}***@{host}")
}

impl Address {
    /// Returns the address of a socket that `name` stands for.
    pub(crate) fn of_socket(socket: std::net::SocketAddr, name: &str, tls: bool) -> Self {
        Self {
            scheme: if tls { Scheme::HTTPS } else { Scheme::HTTP },
            authority: Authority::try_from(socket.to_string())
                .expect("the text of a socket address is an authority"),
            port: socket.port(),
            name: Some(name.into()),
        }
    }

    #[cfg(test)]
    pub(crate) fn numbered(number: usize) -> Self {
        Self::of_socket(([192, 0, 2, number as u8], 1).into(), "test", false)
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Returns host and port as `tokio::net::TcpStream::connect` takes them.
    pub(crate) fn host_port(&self) -> (&str, u16) {
        (self.host(), self.port)
    }

    /// Returns the host, an IPv6 address without its brackets.
    pub(crate) fn host(&self) -> &str {
        self.authority.host().trim_matches(['[', ']'])
    }

    /// Returns the name that the server must prove to have.
    pub(crate) fn tls_name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.host())
    }

    /// Returns the URI of a request to `path` here.
    pub(crate) fn uri(&self, path: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).expect("scheme, authority and path are a URI")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.authority.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_or_named_with_their_fault() {
        let fixed = |text: &str| match Target::parse(text, text.starts_with("https")) {
            Ok(Target::Fixed(address)) => (address.to_string(), address.is_tls(), address.port),
            other => panic!("{other:?}"),
        };
        assert_eq!(fixed("http://a:1"), ("a:1".into(), false, 1));
        assert_eq!(fixed("https://a/"), ("a".into(), true, 443));
        assert_eq!(fixed("http://[::1]:7"), ("[::1]:7".into(), false, 7));
        assert_eq!(
            Target::parse("dns:///search.prod:50051", true),
            Ok(Target::Dns {
                host: "search.prod".into(),
                port: 50051,
                tls: true
            })
        );
        for (text, tls) in [("http://a:1", true), ("https://a:1", false)] {
            let error = Target::parse(text, tls).unwrap_err().to_string();
            assert!(error.contains("mesh.tls"), "{error}");
        }
        for text in ["http://me:secret@a:1", "me:secret@a:1", "dns:///secret@a:1"] {
            let error = Target::parse(text, false).unwrap_err().to_string();
            assert!(error.contains("***@a:1"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        for text in ["", "a", "ftp://a:1", "http://a:1/x", "dns:///a", "http://"] {
            let error = Target::parse(text, false).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
