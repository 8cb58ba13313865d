//! gRPC and gRPC-Web through the port of REST, from outside.

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::stream;
use mediamesh_proto::{
    media::v1::{
        GetMediaItemRequest, UploadMediaMetadata, UploadMediaRequest,
        media_service_client::MediaServiceClient, upload_media_request::Payload,
    },
    search::v1::{
        SearchMediaRequest, SearchMediaResponse, search_service_client::SearchServiceClient,
    },
};
use mediamesh_testkit::{Cluster, Http, fixture};
use prost::Message as _;
use reqwest::{Method, StatusCode};
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt as _;

use crate::start;

/// A message as gRPC frames it.
fn frame(message: &impl prost::Message) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend((message.encoded_len() as u32).to_be_bytes());
    frame.extend(message.encode_to_vec());
    frame
}

#[tokio::test]
async fn a_generated_client_uses_the_port_of_rest() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let channel = Channel::from_shared(format!("http://{}", mesh.http_address()))?
        .connect()
        .await?;
    let mut media = MediaServiceClient::new(channel.clone());
    let bytes = fixture::jpeg(3, 640, 480);
    let metadata = Payload::Metadata(UploadMediaMetadata {
        display_name: "pier.jpg".into(),
        ..Default::default()
    });
    let chunks = bytes
        .chunks(65_536)
        .map(|chunk| Payload::Chunk(chunk.to_vec().into()));
    let messages: Vec<UploadMediaRequest> = std::iter::once(metadata)
        .chain(chunks)
        .map(|payload| UploadMediaRequest {
            payload: Some(payload),
        })
        .collect();
    let uploaded = media.upload_media(stream::iter(messages)).await?;
    assert!(uploaded.metadata().contains_key("x-request-id"));
    let item = uploaded.into_inner().media_item.context("no item")?;
    mesh.http().settled().await?;

    let mut search = SearchServiceClient::new(channel);
    let request = SearchMediaRequest {
        query: "pier".into(),
        ..Default::default()
    };
    let hits = search.search_media(request).await?.into_inner().results;
    assert_eq!(hits.first().map(|hit| &hit.id), Some(&item.id));

    let nobody = GetMediaItemRequest {
        media_item_id: "01890000-0000-7000-8000-000000000000".into(),
    };
    let status = media.get_media_item(nobody).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.as_str());
    assert_eq!(reason, Some("ERROR_REASON_MEDIA_ITEM_NOT_FOUND"));
    Ok(())
}

/// Uploads pictures and finds them again by gRPC-Web, binary and text.
async fn searches_by_grpc_web(http: &Http) -> Result<()> {
    for seed in 0..2 {
        let name = format!("picture {seed}.jpg");
        http.upload_ok(&name, "", fixture::jpeg(seed, 160, 120))
            .await?;
    }
    http.settled().await?;
    let request = SearchMediaRequest {
        query: "picture".into(),
        ..Default::default()
    };
    let web = "application/grpc-web+proto";
    let text = "application/grpc-web-text+proto";
    for (kind, sent) in [
        (web, frame(&request)),
        (text, STANDARD.encode(frame(&request)).into_bytes()),
    ] {
        let answer = http
            .request(
                Method::POST,
                "/mediamesh.search.v1.SearchService/SearchMedia",
            )
            .header("content-type", kind)
            .header("accept", kind)
            .header("x-grpc-web", "1")
            .body(sent)
            .send()
            .await?;
        assert_eq!(answer.status(), StatusCode::OK);
        // the trailers are a frame after the message, so nobody knows the length before
        assert!(answer.headers().get("content-length").is_none());
        let mut body = answer.bytes().await?.to_vec();
        if kind == text {
            body = decoded(&body)?;
        }
        ensure!(body.len() > 5, "{kind}: {body:?}");
        let size = u32::from_be_bytes(body[1..5].try_into()?) as usize;
        let found = SearchMediaResponse::decode(&body[5..5 + size])?;
        assert_eq!(found.results.len(), 2, "{kind}");
        let trailers = &body[5 + size..];
        ensure!(!trailers.is_empty(), "{kind}: no trailers");
        assert_eq!(trailers[0], 0x80, "the trailers are a frame of their own");
        let trailers = String::from_utf8_lossy(trailers).into_owned();
        assert!(trailers.contains("grpc-status:0"), "{kind}: {trailers}");
    }
    Ok(())
}

/// Base64 of several parts, each padded by itself, as gRPC-Web allows.
fn decoded(text: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for four in text.chunks(4) {
        bytes.extend(STANDARD.decode(four)?);
    }
    Ok(bytes)
}

#[tokio::test]
async fn a_browser_searches_by_grpc_web() -> Result<()> {
    let (_keep, mesh) = start().await?;
    searches_by_grpc_web(mesh.http()).await
}

#[tokio::test]
async fn a_browser_searches_by_grpc_web_when_every_service_is_a_process() -> Result<()> {
    let mut cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh"));
    for service in ["cache", "embedding", "search", "media", "edge"] {
        cluster = cluster.service(service, 1);
    }
    let cluster = cluster.start().await?;
    searches_by_grpc_web(cluster.replica("edge", 0).http()).await
}
