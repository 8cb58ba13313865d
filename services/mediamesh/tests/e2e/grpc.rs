//! The same journeys over gRPC, with generated clients.

use anyhow::Result;
use futures::stream;
use mediamesh_proto::{
    ErrorReason,
    media::v1::{
        DownloadMediaRequest, GetMediaItemRequest, UploadMediaMetadata, UploadMediaRequest,
        download_media_response, media_service_client::MediaServiceClient,
        upload_media_request::Payload,
    },
    search::v1::{
        SearchByImageRequest, SearchMediaRequest, StreamSearchMediaRequest,
        search_by_image_request, search_service_client::SearchServiceClient,
        stream_search_media_response,
    },
};
use mediamesh_testkit::{Mesh, fixture};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt as _;

use crate::{fill, id, start};

async fn channel(mesh: &Mesh) -> Result<Channel> {
    Ok(Channel::from_shared(mesh.grpc_uri())?
        .tcp_nodelay(true)
        .connect()
        .await?)
}

fn upload(name: &str, bytes: &[u8]) -> Vec<UploadMediaRequest> {
    let metadata = UploadMediaMetadata {
        display_name: name.into(),
        ..Default::default()
    };
    let mut messages = vec![UploadMediaRequest {
        payload: Some(Payload::Metadata(metadata)),
    }];
    messages.extend(bytes.chunks(64 * 1024).map(|chunk| UploadMediaRequest {
        payload: Some(Payload::Chunk(chunk.to_vec().into())),
    }));
    messages
}

/// Reason of the one `ErrorInfo` that every error must have.
fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details
        .error_info()
        .unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "mediamesh");
    info.reason.clone()
}

#[tokio::test]
async fn a_picture_is_uploaded_found_and_downloaded() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let mut media = MediaServiceClient::new(channel(&mesh).await?);
    let mut search = SearchServiceClient::new(channel(&mesh).await?);
    let bytes = fixture::jpeg(1, 900, 700);
    let stored = media
        .upload_media(stream::iter(upload("lighthouse.jpg", &bytes)))
        .await?
        .into_inner();
    let item = stored.media_item.unwrap();
    let again = media
        .upload_media(stream::iter(upload("again.jpg", &bytes)))
        .await?
        .into_inner();
    assert_eq!(again.duplicate_of, item.id);
    mesh.http().settled().await?;

    let request = SearchMediaRequest {
        query: "lighthouse".into(),
        ..Default::default()
    };
    let answer = search.search_media(request.clone()).await?.into_inner();
    assert_eq!(
        answer.results.first().map(|hit| hit.id.as_str()),
        Some(item.id.as_str())
    );
    let mut stream = search
        .stream_search_media(StreamSearchMediaRequest {
            search: Some(request.clone()),
        })
        .await?
        .into_inner();
    let (mut hits, mut summaries) = (0, 0);
    while let Some(message) = stream.message().await? {
        match message.payload.unwrap() {
            stream_search_media_response::Payload::Hit(_) => hits += 1,
            stream_search_media_response::Payload::Summary(_) => summaries += 1,
        }
    }
    assert_eq!((hits, summaries), (1, 1));

    let mut messages = vec![SearchByImageRequest {
        payload: Some(search_by_image_request::Payload::Search(
            SearchMediaRequest::default(),
        )),
    }];
    let copy = fixture::encode_jpeg(&fixture::rgb(1, 450, 350), 450, 350, 60);
    messages.extend(copy.chunks(64 * 1024).map(|chunk| SearchByImageRequest {
        payload: Some(search_by_image_request::Payload::Chunk(
            chunk.to_vec().into(),
        )),
    }));
    let by_image = search
        .search_by_image(stream::iter(messages))
        .await?
        .into_inner()
        .search
        .unwrap();
    assert_eq!(
        by_image.results.first().map(|hit| hit.id.as_str()),
        Some(item.id.as_str())
    );

    let request = DownloadMediaRequest {
        media_item_id: item.id.clone(),
        read_offset: 100,
        ..Default::default()
    };
    let mut stream = media.download_media(request).await?.into_inner();
    let mut downloaded = Vec::new();
    while let Some(message) = stream.message().await? {
        if let Some(download_media_response::Payload::Chunk(chunk)) = message.payload {
            downloaded.extend_from_slice(&chunk);
        }
    }
    assert!(
        downloaded == bytes[100..],
        "{} of {} bytes",
        downloaded.len(),
        bytes.len() - 100
    );
    Ok(())
}

#[tokio::test]
async fn errors_carry_their_code_reason_and_violations() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let mut media = MediaServiceClient::new(channel(&mesh).await?);
    let mut search = SearchServiceClient::new(channel(&mesh).await?);
    let nobody = GetMediaItemRequest {
        media_item_id: "01890000-0000-7000-8000-000000000000".into(),
    };
    let status = media.get_media_item(nobody).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::NotFound, ErrorReason::MediaItemNotFound.as_str_name())
    );
    let status = search
        .search_media(SearchMediaRequest {
            limit: -1,
            offset: -1,
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (
            Code::InvalidArgument,
            ErrorReason::InvalidField.as_str_name()
        )
    );
    let violations = status
        .get_error_details()
        .bad_request()
        .unwrap()
        .field_violations
        .len();
    assert!(
        violations >= 2,
        "all violations, not the first: {violations}"
    );
    for (bytes, expected) in [
        (fixture::text(), ErrorReason::UnsupportedMediaType),
        (Vec::new(), ErrorReason::EmptyFile),
    ] {
        let status = media
            .upload_media(stream::iter(upload("bad.jpg", &bytes)))
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, expected.as_str_name())
        );
    }
    let no_metadata = vec![UploadMediaRequest {
        payload: Some(Payload::Chunk(vec![1, 2, 3].into())),
    }];
    let status = media
        .upload_media(stream::iter(no_metadata))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    Ok(())
}

#[tokio::test]
async fn grpc_and_http_see_the_same_items() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let mut media = MediaServiceClient::new(channel(&mesh).await?);
    for item in fill(&mesh, 0, 3).await? {
        let json = mesh
            .http()
            .get(&format!("/v1/mediaItems/{}", id(&item)))
            .await?
            .ok()?;
        let request = GetMediaItemRequest {
            media_item_id: id(&item).into(),
        };
        let native = media
            .get_media_item(request)
            .await?
            .into_inner()
            .media_item
            .unwrap();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&serde_json::to_string(&native)?)?,
            json,
            "proto JSON of the message is the body of the answer"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_answered_as_such() -> Result<()> {
    let (_keep, mesh) = start().await?;
    let mut search = SearchServiceClient::new(channel(&mesh).await?);
    let mut request = tonic::Request::new(SearchMediaRequest {
        query: "x".into(),
        ..Default::default()
    });
    request.metadata_mut().insert("grpc-timeout", "1n".parse()?);
    let status = search.search_media(request).await.unwrap_err();
    assert!(
        matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
        "{status:?}"
    );
    Ok(())
}
