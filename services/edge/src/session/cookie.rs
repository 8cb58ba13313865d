//! The cookie, read, set and cleared.
//!
//! Source: RFC 6265, and RFC 6265bis for `SameSite` and the prefix `__Host-`.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use mediamesh_proto::SessionId;

use super::options::{SameSite, Secure, SessionCookieOptions};

/// What a request says of its session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    None,
    /// Its id; whether there is such a session is not known yet.
    Id(SessionId),
    /// Something that is no id, or more than one; why.
    Bad(&'static str),
}

/// Whether cookies of this request are those of TLS.
fn is_secure(options: &SessionCookieOptions, headers: &HeaderMap) -> bool {
    match options.secure {
        Secure::Always => true,
        Secure::Never => false,
        Secure::Auto => {
            // the proxy next to us is the last to write there
            let said = headers.get_all("x-forwarded-proto").iter().next_back();
            let last = said
                .and_then(|value| value.to_str().ok())
                .and_then(|text| text.rsplit(',').next());
            last.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
        }
    }
}

/// Name of the cookie: with the prefix browsers take it only over TLS, for this host alone and for all
/// of its paths, so that no neighbour domain and no plain connection can plant one.
fn name(options: &SessionCookieOptions, secure: bool) -> String {
    match secure {
        true => format!("__Host-{}", options.cookie_name),
        false => options.cookie_name.clone(),
    }
}

/// Reads the session's id. Two different cookies of the name are none: one of them was planted.
pub(crate) fn read(options: &SessionCookieOptions, headers: &HeaderMap) -> Found {
    let name = name(options, is_secure(options, headers));
    let mut found = None;
    for header in headers.get_all(header::COOKIE) {
        // what is not text has no cookie of ours
        let text = header.to_str().unwrap_or_default();
        for pair in text.split(';') {
            let Some((key, value)) = pair.split_once('=') else {
                continue;
            };
            if key.trim() != name {
                continue;
            }
            let value = value.trim();
            if found.is_some_and(|found| found != value) {
                return Found::Bad("there are two cookies of sessions");
            }
            found = Some(value);
        }
    }
    match found.map(str::parse::<SessionId>) {
        None => Found::None,
        Some(Ok(id)) => Found::Id(id),
        Some(Err(_)) => Found::Bad("the cookie is no session's"),
    }
}

/// The header that gives a browser the session.
pub(crate) fn set(
    options: &SessionCookieOptions,
    headers: &HeaderMap,
    id: &SessionId,
    max_age: Duration,
) -> HeaderValue {
    header_value(options, headers, &id.reveal(), max_age)
}

/// The header that takes it away.
pub(crate) fn clear(options: &SessionCookieOptions, headers: &HeaderMap) -> HeaderValue {
    header_value(options, headers, "", Duration::ZERO)
}

fn header_value(
    options: &SessionCookieOptions,
    headers: &HeaderMap,
    value: &str,
    max_age: Duration,
) -> HeaderValue {
    let secure = is_secure(options, headers);
    let same_site = match options.same_site {
        SameSite::Lax => "Lax",
        SameSite::Strict => "Strict",
    };
    let mut text = format!(
        "{}={value}; Path=/; Max-Age={}; HttpOnly; SameSite={same_site}",
        name(options, secure),
        max_age.as_secs()
    );
    if secure {
        text.push_str("; Secure");
    }
    let mut value = HeaderValue::try_from(text).expect("the name was validated, the rest is ours");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_cookie_is_read_among_others_and_a_planted_one_is_not_believed() {
        let options = SessionCookieOptions::default();
        let (id, other) = (SessionId::generate(), SessionId::generate());
        let good = format!("a=b; mediamesh_session={}; c", id.reveal());
        let found = read(&options, &headers(&[("cookie", &good)]));
        assert_eq!(found, Found::Id(id.clone()));
        // the same twice is one
        let twice = headers(&[("cookie", &good), ("cookie", &good)]);
        assert_eq!(read(&options, &twice), Found::Id(id));
        let planted = format!("mediamesh_session={}", other.reveal());
        for planted in [&*planted, "mediamesh_session=", "mediamesh_session=x"] {
            let both = headers(&[("cookie", &good), ("cookie", planted)]);
            assert!(matches!(read(&options, &both), Found::Bad(_)), "{planted}");
        }
        for none in ["", "a=b", "xmediamesh_session=1", "mediamesh_session"] {
            assert_eq!(read(&options, &headers(&[("cookie", none)])), Found::None);
        }
        assert_eq!(read(&options, &HeaderMap::new()), Found::None);
    }

    #[test]
    fn over_tls_only_a_cookie_of_tls_is_read() {
        let options = SessionCookieOptions::default();
        let id = SessionId::generate();
        let plain = format!("mediamesh_session={}", id.reveal());
        let host = format!("__Host-{plain}");
        let https = ("x-forwarded-proto", "http, https");
        assert_eq!(
            read(&options, &headers(&[https, ("cookie", &plain)])),
            Found::None
        );
        assert_eq!(
            read(&options, &headers(&[https, ("cookie", &host)])),
            Found::Id(id.clone())
        );
        assert_eq!(read(&options, &headers(&[("cookie", &host)])), Found::None);
        let set_to = |headers: &HeaderMap| {
            let value = set(&options, headers, &id, Duration::from_secs(60));
            assert!(value.is_sensitive());
            value.to_str().unwrap().to_owned()
        };
        let attributes = "; Path=/; Max-Age=60; HttpOnly; SameSite=Lax";
        assert_eq!(set_to(&headers(&[])), format!("{plain}{attributes}"));
        assert_eq!(
            set_to(&headers(&[https])),
            format!("{host}{attributes}; Secure")
        );
        let cleared = clear(&options, &headers(&[]));
        assert_eq!(
            cleared.to_str().unwrap(),
            "mediamesh_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
        );
        let always = SessionCookieOptions {
            secure: Secure::Always,
            same_site: SameSite::Strict,
            ..options
        };
        let cleared = clear(&always, &headers(&[]));
        assert!(
            cleared
                .to_str()
                .unwrap()
                .ends_with("; SameSite=Strict; Secure")
        );
    }

    #[test]
    fn a_name_that_is_no_token_or_has_a_meaning_to_browsers_is_refused() {
        assert_eq!(
            SessionCookieOptions::default().validate(),
            Vec::<String>::new()
        );
        for cookie_name in ["", "a b", "a;b", "a=b", "__Host-x", "\u{e9}"] {
            let cookie_name = cookie_name.to_owned();
            let options = SessionCookieOptions {
                cookie_name,
                ..SessionCookieOptions::default()
            };
            assert_eq!(options.validate().len(), 1, "{}", options.cookie_name);
        }
    }
}
