//! gRPC and gRPC-Web through the port of REST, from outside.

use anyhow::{Context as _, Result};
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
use mediamesh_testkit::fixture;
use prost::Message as _;
use reqwest::{Method, StatusCode};
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt as _;

use crate::{fill, id, start};

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

#[tokio::test]
async fn a_browser_searches_by_grpc_web() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let items = fill(&mesh, 0, 2).await?;
    let request = SearchMediaRequest {
        query: "picture".into(),
        ..Default::default()
    };
    let answer = mesh
        .http()
        .request(
            Method::POST,
            "/mediamesh.search.v1.SearchService/SearchMedia",
        )
        .header("content-type", "application/grpc-web+proto")
        .header("x-grpc-web", "1")
        .body(frame(&request))
        .send()
        .await?;
    assert_eq!(answer.status(), StatusCode::OK);
    let body = answer.bytes().await?;
    let size = u32::from_be_bytes(body[1..5].try_into()?) as usize;
    let found = SearchMediaResponse::decode(&body[5..5 + size])?;
    let mut found: Vec<&str> = found.results.iter().map(|hit| hit.id.as_str()).collect();
    let mut known: Vec<&str> = items.iter().map(id).collect();
    found.sort_unstable();
    known.sort_unstable();
    assert_eq!(found, known);
    let trailers = &body[5 + size..];
    assert_eq!(trailers[0], 0x80, "the trailers are a frame of their own");
    assert!(String::from_utf8_lossy(trailers).contains("grpc-status:0"));
    Ok(())
}
