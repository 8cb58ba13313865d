//! What of a request's head goes on into the mesh.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version, header};

/// Headers that stay here: those of the connection, those that say who the caller is (the mesh writes
/// its own), its own trace context (the mesh's spans are between), and what browsers add.
const KEPT: [HeaderName; 21] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("mediamesh-identity"),
    header::COOKIE,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
    header::ORIGIN,
    header::REFERER,
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("sec-fetch-dest"),
];

/// Returns whether a header of this name goes on.
pub(crate) fn goes_on(name: &str) -> bool {
    !KEPT.iter().any(|kept| kept == name)
}

/// Returns the request as a generated client would have made it.
///
/// Extensions stay here: they belong to the layers of the edge.
pub(super) fn inward<B>(request: Request<B>) -> Request<B> {
    let (parts, body) = request.into_parts();
    let mut inward = Request::new(body);
    *inward.method_mut() = parts.method;
    *inward.version_mut() = Version::HTTP_2;
    // the channel knows the authority
    *inward.uri_mut() = parts
        .uri
        .path_and_query()
        .cloned()
        .map_or_else(Uri::default, Uri::from);
    *inward.headers_mut() = metadata(parts.headers);
    inward
}

fn metadata(mut headers: HeaderMap) -> HeaderMap {
    // RFC 9110, section 7.6.1: `Connection` names further headers that end here
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&KEPT) {
        headers.remove(name);
    }
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn metadata_goes_on_and_what_is_the_connections_or_the_callers_own_stays() {
        let request = Request::post("http://photos.example/a.B/C")
            .header("content-type", "application/grpc")
            .header("connection", "close, X-Hop")
            .header("x-hop", "1")
            .header("authorization", "Bearer secret")
            .header("mediamesh-identity", "forged")
            .header("cookie", "session=secret")
            .header("traceparent", "00-1-1-01")
            .header("grpc-timeout", "5S")
            .header("mediamesh-priority", "background")
            .header("x-request-id", "42")
            .header("custom-bin", "AAEC")
            .body(())
            .unwrap();
        let inward = inward(request);
        assert_eq!(inward.uri(), "/a.B/C");
        assert_eq!(inward.version(), Version::HTTP_2);
        let mut names: Vec<&str> = inward.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let expected = [
            "content-type",
            "custom-bin",
            "grpc-timeout",
            "mediamesh-priority",
            "te",
            "x-request-id",
        ];
        assert_eq!(names, expected);
    }
}
