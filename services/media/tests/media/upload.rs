//! Uploads and downloads.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use mediamesh_media::Options;
use mediamesh_proto::{
    ErrorReason,
    media::v1::{
        DownloadMediaInfo, DownloadMediaRequest, GetQueueStatsRequest, UploadMediaMetadata,
        download_media_response::Payload, media_item::State,
    },
};
use tonic::Status;
use tonic_types::StatusExt as _;

use crate::rig::{Rig, messages, photo, refused};

async fn download(
    rig: &Rig,
    request: DownloadMediaRequest,
) -> Result<(DownloadMediaInfo, Vec<u8>), Status> {
    let messages: Vec<_> = rig
        .media
        .clone()
        .download_media(request)
        .await?
        .into_inner()
        .try_collect()
        .await?;
    let mut messages = messages.into_iter().map(|message| message.payload.unwrap());
    let Some(Payload::Info(info)) = messages.next() else {
        panic!("info comes first")
    };
    let mut bytes = Vec::new();
    for message in messages {
        let Payload::Chunk(chunk) = message else {
            panic!("info comes once")
        };
        assert!(!chunk.is_empty() && chunk.len() <= 64 * 1024);
        bytes.extend_from_slice(&chunk);
    }
    Ok((info, bytes))
}

#[tokio::test]
async fn an_upload_comes_back_byte_for_byte_and_in_ranges() {
    let rig = Rig::new(Options::default()).await;
    let data = photo("cat.jpg");
    let metadata = UploadMediaMetadata {
        display_name: "/tmp/My Cat.jpg".to_owned(),
        folder: "/pets//cats/".to_owned(),
        tags: vec!["cat".to_owned(), "cat ".to_owned(), "é".to_owned()],
        caption: "asleep".to_owned(),
        size_bytes: data.len() as i64,
        ..UploadMediaMetadata::default()
    };
    let answer = rig.upload_with(metadata, data.clone()).await.unwrap();
    let item = answer.media_item.unwrap();
    assert!(!answer.job_id.is_empty() && answer.duplicate_of.is_empty());
    assert_eq!(
        (item.display_name.as_str(), item.folder.as_str()),
        ("My Cat.jpg", "pets/cats")
    );
    assert_eq!(
        (item.tags.as_slice(), item.state()),
        (["cat", "é"].map(str::to_owned).as_slice(), State::Pending)
    );
    assert_eq!(
        (item.content_type.as_str(), item.size_bytes),
        ("image/jpeg", data.len() as i64)
    );

    let whole = DownloadMediaRequest {
        media_item_id: item.id.clone(),
        ..DownloadMediaRequest::default()
    };
    let (info, bytes) = download(&rig, whole.clone()).await.unwrap();
    assert!(bytes == data);
    assert_eq!(
        (info.sha256, info.file_name.as_str()),
        (item.sha256, "My Cat.jpg")
    );
    let size = data.len() as i64;
    for (offset, limit, expected) in [
        (0, 1, 0..1),
        (10, 0, 10..size),
        (size - 1, 99, size - 1..size),
        (5, 7, 5..12),
    ] {
        let request = DownloadMediaRequest {
            read_offset: offset,
            read_limit: limit,
            ..whole.clone()
        };
        let (info, bytes) = download(&rig, request).await.unwrap();
        assert_eq!(
            (info.range_offset, info.range_length),
            (expected.start, expected.end - expected.start)
        );
        assert!(bytes == data[expected.start as usize..expected.end as usize]);
        assert_eq!(info.size_bytes, size);
    }
    let past = DownloadMediaRequest {
        read_offset: size,
        ..whole.clone()
    };
    refused(download(&rig, past).await, ErrorReason::RangeNotSatisfiable);
    let unknown = DownloadMediaRequest {
        rendition: "w320".to_owned(),
        ..whole
    };
    refused(
        download(&rig, unknown).await,
        ErrorReason::RenditionNotFound,
    );
}

#[tokio::test]
async fn the_same_bytes_are_stored_once_also_when_they_come_at_once() {
    let rig = Rig::new(Options::default()).await;
    let uploads = (0..8).map(|index| {
        let rig = &rig;
        async move {
            rig.upload(&format!("{index}.jpg"), photo("cat.jpg"))
                .await
                .unwrap()
        }
    });
    let answers = futures::future::join_all(uploads).await;
    let new: Vec<_> = answers
        .iter()
        .filter(|answer| answer.duplicate_of.is_empty())
        .collect();
    assert_eq!(new.len(), 1);
    let id = &new[0].media_item.as_ref().unwrap().id;
    for answer in &answers {
        assert_eq!(&answer.media_item.as_ref().unwrap().id, id);
        assert!(answer.duplicate_of.is_empty() || &answer.duplicate_of == id);
    }
    assert_eq!(rig.objects().await.len(), 1);
    let stats = rig
        .jobs
        .clone()
        .get_queue_stats(GetQueueStatsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(stats.waiting, 1);
}

#[tokio::test]
async fn what_is_refused_leaves_nothing() {
    let options = Options {
        max_upload_bytes: 50_000,
        max_image_bytes: 20_000,
        ..Options::default()
    };
    let rig = Rig::new(options).await;
    let named = |size_bytes, sha256: &str| UploadMediaMetadata {
        display_name: "x.jpg".to_owned(),
        size_bytes,
        sha256: sha256.to_owned(),
        ..UploadMediaMetadata::default()
    };
    refused(
        rig.upload("empty.jpg", Bytes::new()).await,
        ErrorReason::EmptyFile,
    );
    refused(
        rig.upload("text.jpg", vec![b'a'; 30_000]).await,
        ErrorReason::UnsupportedMediaType,
    );
    refused(
        rig.upload("short.jpg", "text").await,
        ErrorReason::UnsupportedMediaType,
    );
    let mut long = photo("cat.jpg");
    long.resize(20_001, 0);
    let status = refused(rig.upload("long.jpg", long).await, ErrorReason::TooLarge);
    assert_eq!(
        status.get_error_details().error_info().unwrap().metadata["maxSizeBytes"],
        "20000"
    );
    refused(
        rig.upload_with(named(50_001, ""), "").await,
        ErrorReason::TooLarge,
    );
    let other = "00".repeat(32);
    refused(
        rig.upload_with(named(0, &other), small()).await,
        ErrorReason::ChecksumMismatch,
    );
    refused(
        rig.upload_with(named(3, ""), small()).await,
        ErrorReason::InvalidField,
    );
    assert_eq!((rig.objects().await.len(), rig.files()), (0, 0));
}

fn small() -> Vec<u8> {
    photo("orientation_1.jpg")
}

#[tokio::test]
async fn every_violation_is_told_at_once() {
    let rig = Rig::new(Options::default()).await;
    let metadata = UploadMediaMetadata {
        folder: "a/../b".to_owned(),
        tags: vec![String::new(), "x".repeat(64)],
        sha256: "zz".to_owned(),
        size_bytes: -1,
        ..UploadMediaMetadata::default()
    };
    let status = refused(
        rig.upload_with(metadata, small()).await,
        ErrorReason::InvalidField,
    );
    let details = status.get_error_details();
    let fields: Vec<_> = details
        .bad_request()
        .unwrap()
        .field_violations
        .iter()
        .map(|v| v.field.as_str())
        .collect();
    let expected = [
        "metadata.sha256",
        "metadata.size_bytes",
        "metadata.display_name",
        "metadata.folder",
        "metadata.tags[0]",
        "metadata.tags[1]",
    ];
    assert_eq!(fields, expected);
}

#[tokio::test]
async fn an_upload_broken_off_leaves_nothing() {
    let rig = Rig::new(Options::default()).await;
    let metadata = UploadMediaMetadata {
        display_name: "x.jpg".to_owned(),
        ..UploadMediaMetadata::default()
    };
    let mut data = photo("cat.jpg");
    data.resize(12 << 20, 0);
    let sent = stream::iter(messages(metadata, data.into())).chain(stream::pending());
    let mut media = rig.media.clone();
    let upload = tokio::spawn(async move { media.upload_media(sent).await });
    rig.until("bytes are staged", async || rig.files() > 0)
        .await;
    upload.abort();
    rig.until("staged bytes are removed", async || rig.files() == 0)
        .await;
    assert!(rig.objects().await.is_empty());
}
