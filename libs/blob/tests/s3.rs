//! The contract on a real S3 server, and what only a bucket can show.

#![allow(clippy::unwrap_used)]

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use mediamesh_blob::{
    BlobStore, Credentials, Error, PresignedMethod, S3Options, contract, presign::DEFAULT_EXPIRY,
    writer::PART_BYTES,
};
use mediamesh_testkit::{
    S3,
    s3::{ACCESS_KEY, BUCKET, SECRET_KEY},
};

fn options(server: &S3, prefix: &str) -> S3Options {
    let _ = rustls::crypto::ring::default_provider().install_default();
    S3Options {
        endpoint: Some(server.endpoint()),
        prefix: prefix.to_owned(),
        credentials: Credentials::Key {
            id: ACCESS_KEY.to_owned(),
            secret: SECRET_KEY.to_owned(),
        },
        ..S3Options::new(BUCKET)
    }
}

fn store(server: &S3) -> BlobStore {
    BlobStore::s3(&options(server, "mesh")).unwrap()
}

fn sample(size: usize) -> Bytes {
    (0..size)
        .map(|index| (index / 7) as u8)
        .collect::<Vec<_>>()
        .into()
}

/// Aborts run beside the test: no part must be left soon.
async fn assert_no_part_left(server: &S3) {
    for _ in 0..500 {
        if server.unfinished_parts().unwrap() == 0 && server.keys().unwrap().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!(
        "{} parts and {:?} are left",
        server.unfinished_parts().unwrap(),
        server.keys().unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_the_contract() {
    let server = S3::start().unwrap();
    let count = AtomicUsize::new(0);
    contract::all(|| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        BlobStore::s3(&options(&server, &format!("mesh/{number}"))).unwrap()
    })
    .await;
    assert_eq!(server.unfinished_parts().unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn larger_parts_side_by_side_keep_the_contract() {
    let server = S3::start().unwrap();
    let count = AtomicUsize::new(0);
    contract::all(|| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        BlobStore::s3(&S3Options {
            part_bytes: PART_BYTES + 1_000,
            parallel_parts: 2,
            ..options(&server, &number.to_string())
        })
        .unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_leaves_no_part() {
    let server = S3::start().unwrap();
    let store = store(&server);
    let mut writer = store.writer(u64::MAX);
    writer.write(sample(4 * PART_BYTES)).await.unwrap();
    drop(writer);
    assert_no_part_left(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_of_a_killed_process_are_aborted_by_age() {
    let server = S3::start().unwrap();
    let store = store(&server);
    store
        .put("t/originals/whole", Bytes::from_static(b"whole"))
        .await
        .unwrap();
    // A runtime that ends takes its tasks with it, as a kill does: nothing is aborted.
    let doomed = store.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut writer = doomed.writer(u64::MAX);
        runtime
            .block_on(writer.write(sample(3 * PART_BYTES)))
            .unwrap();
        let patience = tokio::time::Duration::from_secs(1);
        runtime.block_on(async { tokio::time::sleep(patience).await });
        runtime.shutdown_timeout(Duration::from_secs(5));
        std::mem::forget(writer);
    })
    .join()
    .unwrap();
    assert!(server.unfinished_parts().unwrap() > 0);
    assert_eq!(server.keys().unwrap().len(), 2, "the object and the id");

    let young = store.remove_stale(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(young, 0, "too young");
    assert_eq!(store.remove_stale(Duration::ZERO).await.unwrap(), 1);
    assert_eq!(server.unfinished_parts().unwrap(), 0);
    assert_eq!(server.keys().unwrap(), ["mesh/t/originals/whole"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_type_size_and_etag_are_kept() {
    let server = S3::start().unwrap();
    let store = store(&server);
    for size in [1_000, 2 * PART_BYTES] {
        let mut writer = store.writer(u64::MAX).content_type("image/webp");
        writer.write(sample(size)).await.unwrap();
        writer.finish().await.unwrap().publish("a").await.unwrap();
        let found = store.head("a").await.unwrap();
        assert_eq!(
            found.content_type.as_deref(),
            Some("image/webp"),
            "{size} bytes"
        );
        assert_eq!(found.size_bytes, size as u64);
        assert!(found.etag.is_some_and(|etag| etag.len() > 20));
    }
    let text = Bytes::from_static(b"text");
    store.put_typed("b", text, "text/plain").await.unwrap();
    let found = store.head("b").await.unwrap();
    assert_eq!(found.content_type.as_deref(), Some("text/plain"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_signed_address_may_do_that_one_thing() {
    let server = S3::start().unwrap();
    let store = store(&server);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let method = PresignedMethod::Put {
        content_type: Some("image/png"),
    };
    let put = store
        .presign(method, "t/a b", DEFAULT_EXPIRY)
        .await
        .unwrap();
    let sent = |content_type: &'static str| {
        let request = client.put(&put.url).header("content-type", content_type);
        request.body("bytes").send()
    };
    assert_eq!(sent("text/html").await.unwrap().status(), 403);
    assert_eq!(sent("image/png").await.unwrap().status(), 200);
    let get = store
        .presign(PresignedMethod::Get, "t/a b", DEFAULT_EXPIRY)
        .await
        .unwrap();
    let got = client.get(&get.url).send().await.unwrap();
    assert_eq!(got.headers()["content-type"], "image/png");
    assert_eq!(got.text().await.unwrap(), "bytes");
    assert_eq!(client.delete(&get.url).send().await.unwrap().status(), 403);
    let other = get.url.replacen("/t/", "/u/", 1);
    assert_eq!(client.get(other).send().await.unwrap().status(), 403);
    assert!(!format!("{get:?}").contains("Signature"));

    let brief = store
        .presign(PresignedMethod::Get, "t/a b", Duration::from_secs(1))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(client.get(&brief.url).send().await.unwrap().status(), 403);
    let long = store
        .presign(PresignedMethod::Get, "a", Duration::from_secs(604_801))
        .await;
    assert!(
        matches!(
            long,
            Err(Error::InvalidExpiry {
                limit_secs: 604_800,
                ..
            })
        ),
        "{long:?}"
    );
    let memory = BlobStore::memory();
    let refused = memory
        .presign(PresignedMethod::Get, "a", DEFAULT_EXPIRY)
        .await;
    assert!(
        matches!(refused, Err(Error::CannotSign { .. })),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_apart() {
    let mut server = S3::start().unwrap();
    let right = store(&server);
    right.probe().await.unwrap();
    assert!(
        server.keys().unwrap().is_empty(),
        "the probe takes itself away"
    );

    let secret = Credentials::Key {
        id: ACCESS_KEY.to_owned(),
        secret: "wrong".to_owned(),
    };
    let wrong = S3Options {
        credentials: secret,
        ..options(&server, "")
    };
    let refused = BlobStore::s3(&wrong).unwrap().probe().await;
    assert!(matches!(refused, Err(Error::Denied(_))), "{refused:?}");

    let nowhere = S3Options {
        bucket: "elsewhere".to_owned(),
        ..options(&server, "")
    };
    let missing = BlobStore::s3(&nowhere).unwrap();
    let probed = missing.probe().await;
    assert!(matches!(probed, Err(Error::NoBucket(_))), "{probed:?}");

    right.put("a", Bytes::from_static(b"here")).await.unwrap();
    server.stop();
    let began = tokio::time::Instant::now();
    let down = right.get("a", 9).await;
    assert!(matches!(down, Err(Error::Backend(_))), "{down:?}");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    server.start_again().unwrap();
    assert_eq!(
        right.get("a", 9).await.unwrap(),
        "here",
        "the same store works again"
    );
}
