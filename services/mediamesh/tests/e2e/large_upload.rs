//! Memory stays flat however large a file is.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures::stream;
use mediamesh_testkit::fixture;

use crate::launcher;

/// Size of the upload: 2 GiB.
const SIZE_BYTES: u64 = 2 << 30;
/// Growth of the peak that is allowed: buffers of the stream and the hash, not the file.
const MAX_GROWTH_BYTES: u64 = 64 << 20;

/// The first box of an MP4 file. Source: ISO/IEC 14496-12, section 4.3.
const FTYP: &[u8] = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2";

/// A film's first bytes followed by zeros, as a body that is never whole in memory. (A picture of
/// this size would be refused: pictures are decoded in memory.)
fn body() -> reqwest::Body {
    let photo = FTYP.to_vec();
    let zeros = Bytes::from(vec![0_u8; 256 * 1024]);
    let left = SIZE_BYTES - photo.len() as u64;
    let tail = stream::unfold(left, move |left| {
        let size = left.min(zeros.len() as u64);
        let chunk = zeros.slice(..size as usize);
        async move { (size > 0).then_some((Ok::<_, std::io::Error>(chunk), left - size)) }
    });
    reqwest::Body::wrap_stream(futures::StreamExt::chain(
        stream::iter([Ok(Bytes::from(photo))]),
        tail,
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gibibytes_pass_through_in_constant_memory() -> Result<()> {
    let mut launcher = launcher().env(
        "MEDIAMESH_MEDIA__MAX_UPLOAD_BYTES",
        &(4_u64 << 30).to_string(),
    );
    let mesh = launcher.start().await?;
    // buffers and pools are warm before the measurement
    mesh.http()
        .upload_ok("small.jpg", "", fixture::jpeg(1, 320, 240))
        .await?;
    mesh.http().settled().await?;
    let (_, before) = mesh.memory_bytes()?;

    let request = mesh
        .http()
        .request(
            reqwest::Method::POST,
            "/v1/mediaItems?displayName=large.mp4",
        )
        .header("content-type", "video/mp4")
        .timeout(Duration::from_secs(300))
        .body(body());
    let answer = mesh.http().send(request).await?;
    let (_, after) = mesh.memory_bytes()?;
    assert!(
        after < before + MAX_GROWTH_BYTES,
        "the peak grew by {} MiB",
        (after - before) >> 20
    );
    let item = answer.ok()?["mediaItem"].clone();
    assert_eq!(
        item["sizeBytes"].as_str(),
        Some(SIZE_BYTES.to_string().as_str()),
        "{item}"
    );
    Ok(())
}

#[tokio::test]
async fn a_file_over_the_limit_is_refused_and_nothing_is_stored() -> Result<()> {
    let mut launcher = launcher().env("MEDIAMESH_MEDIA__MAX_UPLOAD_BYTES", "100000");
    let mesh = launcher.start().await?;
    let mut bytes = fixture::jpeg(3, 320, 240);
    bytes.resize(100_001, 0);
    // announced by its length, and as a stream of unknown length
    let announced = mesh.http().upload("big.jpg", "", bytes.clone()).await?;
    let stream = stream::iter([Ok::<_, std::io::Error>(Bytes::from(bytes.clone()))]);
    let streamed = mesh
        .http()
        .upload("big.jpg", "", reqwest::Body::wrap_stream(stream))
        .await?;
    for answer in [announced, streamed] {
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (413, "ERROR_REASON_TOO_LARGE"),
            "{}",
            answer.text()
        );
    }
    bytes.truncate(100_000);
    assert_eq!(
        mesh.http()
            .upload("fits.jpg", "", bytes)
            .await?
            .status
            .as_u16(),
        201,
        "the limit itself is allowed"
    );
    assert_eq!(mesh.http().list_all("").await?.len(), 1);
    Ok(())
}
