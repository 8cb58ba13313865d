//! A small service written by hand in the shape of generated code, with a handler per misfortune.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _};
use mediamesh_mesh::{
    Channel, Deadline, Priority, Request as HttpRequest, Response as HttpResponse,
};
use prost::Message as _;
use prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    ServiceDescriptorProto,
};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

pub(crate) const SERVICE: &str = "mediamesh.media.v1.Echo";
pub(crate) const CALL: &str = "/mediamesh.media.v1.Echo/Call";
pub(crate) const STREAM: &str = "/mediamesh.media.v1.Echo/Stream";

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Ask {
    #[prost(string, tag = "1")]
    pub(crate) what: String,
    #[prost(uint64, tag = "2")]
    pub(crate) number: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Answer {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    #[prost(uint64, tag = "2")]
    pub(crate) number: u64,
}

/// Encoded descriptors of the service, for policy and reflection.
pub(crate) fn descriptors() -> &'static [u8] {
    let message = |name: &str| DescriptorProto {
        name: Some(name.into()),
        ..Default::default()
    };
    let method = |name: &str, streams| MethodDescriptorProto {
        name: Some(name.into()),
        input_type: Some(".mediamesh.media.v1.Ask".into()),
        output_type: Some(".mediamesh.media.v1.Answer".into()),
        server_streaming: Some(streams),
        ..Default::default()
    };
    let file = FileDescriptorProto {
        name: Some("mediamesh/media/v1/echo.proto".into()),
        package: Some("mediamesh.media.v1".into()),
        message_type: vec![message("Ask"), message("Answer")],
        service: vec![ServiceDescriptorProto {
            name: Some("Echo".into()),
            method: vec![method("Call", false), method("Stream", true)],
            ..Default::default()
        }],
        syntax: Some("proto3".into()),
        ..Default::default()
    };
    FileDescriptorSet { file: vec![file] }
        .encode_to_vec()
        .leak()
}

/// What the handlers share with the test.
#[derive(Clone)]
pub(crate) struct Echo {
    /// Handlers dropped before they finished.
    pub(crate) dropped: Arc<AtomicUsize>,
    /// Handlers now running, and the most there ever were.
    pub(crate) running: Arc<AtomicUsize>,
    pub(crate) peak: Arc<AtomicUsize>,
    /// `wait` handlers end when the test adds permits.
    pub(crate) gate: Arc<Semaphore>,
    /// Way to the next hop, for `hop`.
    pub(crate) next: Channel,
}

impl Echo {
    pub(crate) fn new(next: Channel) -> Self {
        Self {
            dropped: Arc::default(),
            running: Arc::default(),
            peak: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
            next,
        }
    }

    async fn answer(&self, request: Request<Ask>) -> Result<Answer, Status> {
        let _running = Running::start(self);
        let tenant = mediamesh_mesh::identity(&request)?.tenant_id;
        let extension = request.extensions().get::<Deadline>().copied();
        let Ask { what, number } = request.into_inner();
        let text = match what.as_str() {
            "bytes" => "x".repeat(usize::try_from(number).unwrap()),
            // as long as it likes, so that its request is
            padded if padded.starts_with("pad ") => String::new(),
            "tenant" => tenant.to_string(),
            "panic" => panic!("secret of the handler"),
            "leak" => return Err(Status::unknown("secret of the handler")),
            "down" => return Err(Status::unavailable("made to be")),
            "sleep" => {
                tokio::time::sleep(Duration::from_millis(number)).await;
                String::new()
            }
            // A service with as many servers as the gate has permits.
            "work" => {
                let _server = self.gate.acquire().await.unwrap();
                tokio::time::sleep(Duration::from_millis(number)).await;
                String::new()
            }
            "priority" if number > 0 => {
                let number = number - 1;
                return call(self.next.clone(), Ask { what, number }, None).await;
            }
            "priority" => Priority::current().as_str().to_owned(),
            "wait" => {
                self.gate.acquire().await.unwrap().forget();
                String::new()
            }
            "trace" => mediamesh_telemetry::propagation::current_trace_id().unwrap_or_default(),
            "deadline" => {
                assert_eq!(extension, Deadline::current());
                return Ok(Answer {
                    text: String::new(),
                    number: remaining_millis(),
                });
            }
            // Answers what is left at the other end, `number` hops on.
            "hop" if number > 0 => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                let ask = Ask {
                    what,
                    number: number - 1,
                };
                return call(self.next.clone(), ask, None).await;
            }
            "hop" => {
                return Ok(Answer {
                    text: String::new(),
                    number: remaining_millis(),
                });
            }
            other => return Err(Status::invalid_argument(format!("unknown `{other}`"))),
        };
        Ok(Answer { text, number })
    }

    fn answers(&self, ask: &Ask) -> BoxStream<'static, Result<Answer, Status>> {
        let held = Running::start(self);
        let first = stream::iter([Ok(Answer {
            text: "first".into(),
            number: 0,
        })]);
        let rest = match ask.what.as_str() {
            "endless" => stream::pending().boxed(),
            "priority" => stream::once(async {
                let text = Priority::current().as_str().to_owned();
                Ok(Answer { text, number: 0 })
            })
            .boxed(),
            "panic" => stream::once(async { panic!("secret of the stream") }).boxed(),
            "leak" => stream::iter([Err(Status::unknown("secret of the stream"))]).boxed(),
            _ => stream::iter([Ok(Answer {
                text: "last".into(),
                number: 1,
            })])
            .boxed(),
        };
        let mut held = Some(held);
        first
            .chain(rest)
            .chain(stream::poll_fn(move |_| {
                held.take();
                Poll::Ready(None)
            }))
            .boxed()
    }
}

fn remaining_millis() -> u64 {
    Deadline::current().map_or(u64::MAX, |left| left.remaining().as_millis() as u64)
}

struct Running {
    echo: Echo,
    started: std::thread::ThreadId,
}

impl Running {
    fn start(echo: &Echo) -> Self {
        let now = echo.running.fetch_add(1, Ordering::SeqCst) + 1;
        echo.peak.fetch_max(now, Ordering::SeqCst);
        Self {
            echo: echo.clone(),
            started: std::thread::current().id(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        debug_assert_eq!(
            self.started,
            std::thread::current().id(),
            "tests run on one thread"
        );
        self.echo.running.fetch_sub(1, Ordering::SeqCst);
        self.echo.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

// === what tonic-build would write ===

#[derive(Clone)]
pub(crate) struct EchoServer(pub(crate) Echo);

impl tonic::server::NamedService for EchoServer {
    const NAME: &'static str = SERVICE;
}

impl tower::Service<HttpRequest> for EchoServer {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<HttpResponse, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        let echo = self.0.clone();
        Box::pin(async move {
            let codec = ProstCodec::<Answer, Ask>::default();
            let mut grpc = tonic::server::Grpc::new(codec);
            Ok(match request.uri().path() {
                CALL => grpc.unary(Unary(echo), request).await,
                STREAM => grpc.server_streaming(Streaming(echo), request).await,
                _ => Status::new(Code::Unimplemented, "no such method").into_http::<Body>(),
            })
        })
    }
}

struct Unary(Echo);

impl tonic::server::UnaryService<Ask> for Unary {
    type Response = Answer;
    type Future = BoxFuture<'static, Result<Response<Answer>, Status>>;

    fn call(&mut self, request: Request<Ask>) -> Self::Future {
        let echo = self.0.clone();
        Box::pin(async move { Ok(Response::new(echo.answer(request).await?)) })
    }
}

struct Streaming(Echo);

impl tonic::server::ServerStreamingService<Ask> for Streaming {
    type Response = Answer;
    type ResponseStream = BoxStream<'static, Result<Answer, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Ask>) -> Self::Future {
        let echo = self.0.clone();
        Box::pin(async move { Ok(Response::new(echo.answers(&request.into_inner()))) })
    }
}

fn request(ask: Ask, timeout: Option<Duration>) -> Request<Ask> {
    let mut request = Request::new(ask);
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    request
}

/// Calls the unary method.
pub(crate) async fn call(
    channel: Channel,
    ask: Ask,
    timeout: Option<Duration>,
) -> Result<Answer, Status> {
    let mut client = tonic::client::Grpc::new(channel);
    let codec = ProstCodec::<Ask, Answer>::default();
    let path = http::uri::PathAndQuery::from_static(CALL);
    client.ready().await.unwrap();
    Ok(client
        .unary(request(ask, timeout), path, codec)
        .await?
        .into_inner())
}

/// Calls the streaming method and collects its answers until the end or the first error.
pub(crate) async fn stream(
    channel: Channel,
    what: &str,
    timeout: Option<Duration>,
) -> (Vec<String>, Result<(), Status>) {
    let mut client = tonic::client::Grpc::new(channel);
    let codec = ProstCodec::<Ask, Answer>::default();
    let path = http::uri::PathAndQuery::from_static(STREAM);
    client.ready().await.unwrap();
    let ask = Ask {
        what: what.into(),
        number: 0,
    };
    let mut answers = match client
        .server_streaming(request(ask, timeout), path, codec)
        .await
    {
        Ok(response) => response.into_inner(),
        Err(status) => return (vec![], Err(status)),
    };
    let mut texts = vec![];
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(answer) => texts.push(answer.text),
            Err(status) => return (texts, Err(status)),
        }
    }
    (texts, Ok(()))
}
