//! gRPC and gRPC-Web on the edge's port.

use std::{net::SocketAddr, time::Duration};

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::{StreamExt as _, stream};
use http::StatusCode;
use mediamesh_edge::Options;
use mediamesh_proto::{
    cache::v1::{InvalidateEntriesRequest, cache_service_client::CacheServiceClient},
    media::v1::{media_service_client::MediaServiceClient, *},
    search::v1::{search_service_client::SearchServiceClient, *},
};
use prost::Message as _;
use tokio::net::TcpListener;
use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt as _;

use super::rig::Rig;

const WEB: &str = "application/grpc-web+proto";
const GET: &str = "/mediamesh.media.v1.MediaService/GetMediaItem";

/// Serves the edge on a port and connects to it as any gRPC client would.
async fn connect(rig: &Rig) -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let edge = rig.edge.clone();
    tokio::spawn(async move { edge.serve(listener, std::future::pending()).await });
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

fn get(id: &str) -> GetMediaItemRequest {
    GetMediaItemRequest {
        media_item_id: id.to_owned(),
    }
}

fn reason(status: &tonic::Status) -> String {
    let info = status.get_error_details().error_info().cloned();
    info.map(|info| info.reason).unwrap_or_default()
}

#[tokio::test]
async fn a_generated_client_calls_unary_and_streaming_methods_through_the_port_of_rest() {
    let rig = Rig::new();
    let channel = connect(&rig).await;
    let mut media = MediaServiceClient::new(channel.clone());

    let mut request = Request::new(get("one"));
    request
        .metadata_mut()
        .insert("x-request-id", "mine".parse().unwrap());
    let answer = media.get_media_item(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "mine");
    assert_eq!(answer.into_inner().media_item.unwrap().id, "one");

    let chunks = (0..40_u8).map(|at| upload_media_request::Payload::Chunk(vec![at; 65_536].into()));
    let metadata = upload_media_request::Payload::Metadata(UploadMediaMetadata {
        display_name: "large.jpg".to_owned(),
        ..UploadMediaMetadata::default()
    });
    let messages = std::iter::once(metadata)
        .chain(chunks)
        .map(|payload| UploadMediaRequest {
            payload: Some(payload),
        });
    let uploaded = media
        .upload_media(stream::iter(messages.collect::<Vec<_>>()))
        .await
        .unwrap();
    assert_eq!(uploaded.into_inner().media_item.unwrap().id, "new");
    let (metadata, bytes) = rig.seen.uploads.lock().pop().unwrap();
    assert_eq!(metadata.display_name, "large.jpg");
    assert_eq!(bytes.len(), 40 * 65_536);

    let request = DownloadMediaRequest {
        media_item_id: "one".to_owned(),
        ..DownloadMediaRequest::default()
    };
    let mut stream = media.download_media(request).await.unwrap().into_inner();
    let mut size = 0;
    while let Some(message) = stream.message().await.unwrap() {
        if let Some(download_media_response::Payload::Chunk(chunk)) = message.payload {
            size += chunk.len();
        }
    }
    assert_eq!(size, 200_000);
    assert!(stream.trailers().await.unwrap().is_some());

    let mut search = SearchServiceClient::new(channel);
    let request = StreamSearchMediaRequest {
        search: Some(SearchMediaRequest::default()),
    };
    let hits = search.stream_search_media(request).await.unwrap();
    assert_eq!(hits.into_inner().count().await, 2);
}

#[tokio::test]
async fn errors_of_services_arrive_whole() {
    let rig = Rig::new();
    let mut media = MediaServiceClient::new(connect(&rig).await);
    let status = media.get_media_item(get("missing")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(reason(&status), "ERROR_REASON_MEDIA_ITEM_NOT_FOUND");
    let status = media.get_media_item(get("panic")).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
}

#[tokio::test]
async fn the_deadline_of_a_call_holds() {
    let rig = Rig::new();
    let mut media = MediaServiceClient::new(connect(&rig).await);
    let start = tokio::time::Instant::now();
    let mut request = Request::new(get("slow"));
    // a client sends `grpc-timeout` with a timer of its own, which would be first
    request
        .metadata_mut()
        .insert("x-request-timeout", "0.2".parse().unwrap());
    let status = media.get_media_item(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn no_client_gets_more_time_than_the_edge_gives() {
    const MOST: u128 = 2_000;
    let rig = Rig::with(Options {
        max_request_timeout_secs: 2,
        ..Options::default()
    });
    let left = |name: &str| name.parse::<u128>().unwrap();
    for (name, value, most) in [
        ("x-request-timeout", "100", MOST),
        ("x-request-timeout", "0.5", 500),
        ("grpc-timeout", "1H", MOST),
        ("grpc-timeout", "99999999H", MOST),
        ("grpc-timeout", "500m", 500),
    ] {
        let answer = rig.get("/v1/mediaItems/deadline", &[(name, value)]).await;
        let rest = left(answer.json()["displayName"].as_str().unwrap());
        assert!(rest <= most, "REST, {name} {value}: {rest}");
        assert!(rest + 400 > most, "REST, {name} {value}: {rest}");
        let head = [("content-type", WEB), (name, value)];
        let answer = rig
            .request("POST", GET, &head, frame(&get("deadline")))
            .await;
        let item = GetMediaItemResponse::decode(frames(&answer.body)[0].1).unwrap();
        let web = left(&item.media_item.unwrap().display_name);
        assert!(
            web <= most && web + 400 > most,
            "gRPC-Web, {name} {value}: {web}"
        );
    }
    let mut media = MediaServiceClient::new(connect(&rig).await);
    let mut request = Request::new(get("deadline"));
    request.set_timeout(Duration::from_secs(3600));
    let answer = media.get_media_item(request).await.unwrap().into_inner();
    let grpc = left(&answer.media_item.unwrap().display_name);
    assert!(grpc <= MOST, "gRPC: {grpc}");
    // who asks for none has that of the method, which is longer
    let answer = media.get_media_item(get("deadline")).await.unwrap();
    let own = left(&answer.into_inner().media_item.unwrap().display_name);
    assert!(own > MOST && own <= 30_000, "{own}");
}

#[tokio::test]
async fn a_stream_that_breaks_off_says_why_after_its_messages() {
    let rig = Rig::new();
    let mut search = SearchServiceClient::new(connect(&rig).await);
    let request = StreamSearchMediaRequest {
        search: Some(breaks_off()),
    };
    let mut hits = search
        .stream_search_media(request)
        .await
        .unwrap()
        .into_inner();
    assert!(hits.message().await.unwrap().is_some());
    let status = hits.message().await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(reason(&status), "ERROR_REASON_MEDIA_ITEM_NOT_FOUND");
}

#[tokio::test]
async fn an_edge_without_a_free_slot_says_so_as_a_service_would() {
    let rig = Rig::with(Options {
        max_concurrency: 1,
        ..Options::default()
    });
    let mut media = MediaServiceClient::new(connect(&rig).await);
    let mut busy = media.clone();
    let running = tokio::spawn(async move { busy.get_media_item(get("slow")).await });
    let status = loop {
        match media.get_media_item(get("one")).await {
            Err(status) => break status,
            // the slow one has not arrived yet
            Ok(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason(&status), "ERROR_REASON_LOAD_SHED");
    let retry = status.get_error_details().retry_info().cloned().unwrap();
    assert!(retry.retry_delay.unwrap() >= Duration::from_secs(1));
    running.abort();
}

#[tokio::test]
async fn what_nobody_knows_and_what_is_the_meshs_own_is_unimplemented() {
    let rig = Rig::new();
    let channel = connect(&rig).await;
    let mut cache = CacheServiceClient::new(channel.clone());
    let invalidate = InvalidateEntriesRequest::default();
    let status = cache.invalidate_entries(invalidate).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
    assert_eq!(reason(&status), "ERROR_REASON_UNIMPLEMENTED");
    let mut search = SearchServiceClient::new(channel);
    let index = IndexMediaRequest::default();
    let status = search.index_media(index).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn health_and_reflection_answer() {
    let rig = Rig::new();
    let channel = connect(&rig).await;
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "mediamesh.search.v1.SearchService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let mut answers = reflection
        .server_reflection_info(stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let names: Vec<&str> = list.service.iter().map(|it| it.name.as_str()).collect();
    assert!(
        names.contains(&"mediamesh.media.v1.MediaService"),
        "{names:?}"
    );
}

fn breaks_off() -> SearchMediaRequest {
    SearchMediaRequest {
        query: "break off".to_owned(),
        ..SearchMediaRequest::default()
    }
}

/// A message as gRPC frames it.
fn frame(message: &impl prost::Message) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend((message.encoded_len() as u32).to_be_bytes());
    message.encode(&mut frame).unwrap();
    frame
}

/// The frames of a gRPC-Web body: flag and content.
fn frames(mut body: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while let [flag, a, b, c, d, rest @ ..] = body {
        let size = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        frames.push((*flag, &rest[..size]));
        body = &rest[size..];
    }
    frames
}

#[tokio::test]
async fn browsers_call_by_grpc_web_over_http_1() {
    let rig = Rig::new();
    let head = [("content-type", WEB), ("x-grpc-web", "1")];
    let answer = rig.request("POST", GET, &head, frame(&get("one"))).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), WEB);
    let frames = frames(&answer.body);
    assert_eq!(frames.iter().map(|it| it.0).collect::<Vec<_>>(), [0, 0x80]);
    let item = GetMediaItemResponse::decode(frames[0].1).unwrap();
    assert_eq!(item.media_item.unwrap().id, "one");
    let trailers = String::from_utf8_lossy(frames[1].1).into_owned();
    assert!(trailers.contains("grpc-status:0"), "{trailers}");

    let answer = rig
        .request("POST", GET, &head, frame(&get("missing")))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("grpc-status"), "5", "{:?}", answer.headers);
}

/// The status in the trailers of a gRPC-Web body, read as a client of gRPC reads them.
fn status_of(trailers: &[u8]) -> tonic::Status {
    let mut headers = http::HeaderMap::new();
    for line in std::str::from_utf8(trailers).unwrap().lines() {
        let (name, value) = line.split_once(':').unwrap();
        let name: http::HeaderName = name.parse().unwrap();
        headers.insert(name, value.trim().parse().unwrap());
    }
    tonic::Status::from_header_map(&headers).unwrap()
}

#[tokio::test]
async fn browsers_read_streams_by_grpc_web_and_how_they_end() {
    let rig = Rig::new();
    let path = "/mediamesh.search.v1.SearchService/StreamSearchMedia";
    let text = "application/grpc-web-text+proto";
    for kind in [WEB, text] {
        for (search, messages, code) in [
            (SearchMediaRequest::default(), 2, Code::Ok),
            (breaks_off(), 1, Code::NotFound),
        ] {
            let request = StreamSearchMediaRequest {
                search: Some(search),
            };
            let mut sent = frame(&request);
            if kind == text {
                sent = STANDARD.encode(sent).into_bytes();
            }
            let head = [
                ("content-type", kind),
                ("accept", kind),
                ("x-grpc-web", "1"),
            ];
            let answer = rig.request("POST", path, &head, sent).await;
            assert_eq!(answer.status, StatusCode::OK);
            assert_eq!(answer.header("content-type"), kind);
            let body = match kind == text {
                // each part is padded by itself
                true => answer
                    .body
                    .chunks(4)
                    .flat_map(|four| STANDARD.decode(four).unwrap())
                    .collect(),
                false => answer.body,
            };
            let frames = frames(&body);
            let (trailers, sent) = frames.split_last().unwrap();
            assert_eq!(sent.len(), messages, "{kind} {code}");
            for (flag, message) in sent {
                assert_eq!(*flag, 0);
                StreamSearchMediaResponse::decode(*message).unwrap();
            }
            assert_eq!(trailers.0, 0x80, "{kind} {code}");
            let status = status_of(trailers.1);
            assert_eq!(status.code(), code, "{kind}");
            if code == Code::NotFound {
                assert_eq!(reason(&status), "ERROR_REASON_MEDIA_ITEM_NOT_FOUND");
            }
        }
    }
}

#[tokio::test]
async fn a_foreign_page_is_refused_in_the_terms_of_the_call() {
    let rig = Rig::new();
    let head = [("content-type", WEB), ("origin", "https://evil.example")];
    let answer = rig.request("POST", GET, &head, frame(&get("one"))).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), WEB);
    assert_eq!(answer.header("grpc-status"), "7", "{:?}", answer.headers);
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn what_is_no_grpc_is_told_what_it_lacks() {
    let rig = Rig::new();
    let json = [("content-type", "application/json")];
    let answer = rig.request("POST", GET, &json, "{}").await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(
        answer.json()["reason"],
        "ERROR_REASON_UNSUPPORTED_MEDIA_TYPE"
    );

    // plain gRPC has its status in trailers, which HTTP/1.1 clients do not read
    let plain = [("content-type", "application/grpc")];
    let answer = rig.request("POST", GET, &plain, frame(&get("one"))).await;
    assert_eq!(answer.header("grpc-status"), "12", "{:?}", answer.headers);
    assert!(answer.header("grpc-message").contains("HTTP/2"));

    let answer = rig
        .request("PUT", GET, &[("content-type", WEB)], Body::empty())
        .await;
    assert_eq!(answer.header("grpc-status"), "12", "{:?}", answer.headers);

    // the gRPC of an unknown path, not the HTML or JSON of one
    let nowhere = "/mediamesh.media.v1.MediaService/Nothing";
    let answer = rig
        .request("POST", nowhere, &[("content-type", WEB)], Body::empty())
        .await;
    assert_eq!(answer.header("grpc-status"), "12", "{:?}", answer.headers);
}
