//! A running server and a small client.

use std::time::Duration;

use axum::{Router, body::Body, routing::put};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use mediamesh_transcode::runtime::{self, Options};
use mediamesh_transcode_testapi::{
    Library, library::v1::library_service_server::LibraryServiceServer, routes,
};
use serde_json::Value;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};
use tower::ServiceExt;

pub(crate) struct Rig {
    router: Router,
    pub(crate) library: Library,
    pub(crate) channel: Channel,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) matched: Option<runtime::Matched>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let library = Library::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().add_service(LibraryServiceServer::new(library.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let channel = Channel::from_shared(format!("http://{address}"))
            .unwrap()
            .connect()
            .await
            .unwrap();
        let options = Options::default()
            .body_limit_bytes(1000)
            .body_timeout(Duration::from_secs(1))
            .by_hand("PUT", "/v1/books/by-hand")
            .keep_alive(Duration::from_millis(100))
            .problem(|problem, parts| problem.trace_id("abc").instance(parts.uri.path()))
            .response_headers(|_, headers| {
                headers.insert("x-hook", http::HeaderValue::from_static("ran"));
            });
        let clients = routes::Clients::new(|service| {
            assert_eq!(service, "library.v1.LibraryService");
            channel.clone()
        });
        // hand-written routes beside generated ones, above and on the same path
        let router = routes::routes(clients, options.clone())
            .route("/v1/books/{id}/cover", put(|| async { "by hand" }))
            .merge(Router::new().route("/v1/books/{p2}", put(|| async { "by hand" })))
            .fallback(move |request| runtime::not_found(options, request));
        Self {
            router,
            library,
            channel,
        }
    }

    pub(crate) async fn respond(&self, request: Request<Body>) -> axum::response::Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.respond(request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
            matched: parts.extensions.get().copied(),
        }
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.send(Request::get(uri).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn json(&self, method: Method, uri: &str, body: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", "application/json; charset=utf-8")
            .body(Body::from(body.to_owned()))
            .unwrap();
        self.send(request).await
    }

    pub(crate) async fn post(&self, uri: &str, body: &str) -> Answer {
        self.json(Method::POST, uri, body).await
    }
}
