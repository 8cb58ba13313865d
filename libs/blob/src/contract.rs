//! The suite that every backend passes.
//!
//! Each function takes an empty store and panics if the store breaks the contract.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use crate::{BlobStore, Error, writer::PART_BYTES};

/// Runs the whole suite; `empty` makes a new empty store.
pub async fn all(empty: impl Fn() -> BlobStore) {
    bytes_come_back_as_they_went_in(empty()).await;
    ranges_are_exact(empty()).await;
    what_fails_leaves_nothing(empty()).await;
    what_is_dropped_leaves_nothing(empty()).await;
    replacing_and_removing(empty()).await;
}

/// Sizes around every boundary, in chunks that do not fit the parts.
pub async fn bytes_come_back_as_they_went_in(store: BlobStore) {
    for size in [
        0,
        1,
        70_000,
        PART_BYTES - 1,
        PART_BYTES,
        PART_BYTES + 1,
        3 * PART_BYTES + 12_345,
    ] {
        let data = sample(size);
        let key = format!("t/originals/{size}");
        let written = store
            .put_stream(&key, chunks(&data, 65_000), u64::MAX)
            .await
            .unwrap();
        assert_eq!(written.size_bytes, size as u64);
        assert_eq!(
            written.sha256,
            <[u8; 32]>::from(Sha256::digest(&data)),
            "hash of {size} bytes"
        );
        assert!(
            store.get(&key, u64::MAX).await.unwrap() == data,
            "{size} bytes differ"
        );
        assert_eq!(store.head(&key).await.unwrap().size_bytes, size as u64);
        assert_eq!(store.measure(&key).await.unwrap(), written);
        if size > 0 {
            let read: Vec<Bytes> = store
                .read(&key, 0..size as u64)
                .await
                .unwrap()
                .try_collect()
                .await
                .unwrap();
            assert!(read.concat() == data, "{size} streamed bytes differ");
        }
    }
    assert_eq!(objects(&store).await, 7);
    assert!(matches!(
        store.get("t/originals/70000", 69_999).await,
        Err(Error::TooLarge { .. })
    ));
}

/// First, last, middle, cut, and past the end.
pub async fn ranges_are_exact(store: BlobStore) {
    let data = sample(700_000);
    store.put("a", data.clone()).await.unwrap();
    for (start, end) in [(0, 1), (0, 700_000), (699_999, 700_000), (300_000, 650_000)] {
        assert_eq!(
            store.get_range("a", start..end).await.unwrap(),
            data.slice(start as usize..end as usize)
        );
        let read: Vec<Bytes> = store
            .read("a", start..end)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert!(
            read.concat() == data.slice(start as usize..end as usize),
            "{start}..{end}"
        );
    }
    assert_eq!(
        store.get_range("a", 699_990..u64::MAX).await.unwrap().len(),
        10
    );
    let past = store.get_range("a", 700_000..700_001).await;
    assert!(
        matches!(
            past,
            Err(Error::RangePastEnd {
                size_bytes: 700_000,
                ..
            })
        ),
        "{past:?}"
    );
    assert!(matches!(
        store.get("missing", 1).await,
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        store.head("missing").await,
        Err(Error::NotFound { .. })
    ));
    for key in ["", "../a", "a/../b", "a//b"] {
        assert!(
            matches!(
                store.put(key, Bytes::new()).await,
                Err(Error::InvalidKey { .. })
            ),
            "{key}"
        );
    }
}

/// Over the limit, and a source that breaks, below and above one part.
pub async fn what_fails_leaves_nothing(store: BlobStore) {
    for size in [1_000, 2 * PART_BYTES] {
        let data = sample(size);
        let over = store
            .put_stream("a", chunks(&data, 65_536), size as u64 - 1)
            .await;
        assert!(
            matches!(over, Err(Error::TooLarge { limit_bytes }) if limit_bytes == size as u64 - 1),
            "{over:?}"
        );
        let broken =
            chunks(&data, 65_536).chain(stream::iter([Err(std::io::Error::other("gone"))]));
        assert!(matches!(
            store.put_stream("a", broken, u64::MAX).await,
            Err(Error::Source(_))
        ));
    }
    assert_nothing_left(&store).await;
}

/// A writer dropped half way, a staged object never published.
pub async fn what_is_dropped_leaves_nothing(store: BlobStore) {
    let mut writer = store.writer(u64::MAX);
    writer.write(sample(2 * PART_BYTES + 1)).await.unwrap();
    drop(writer);
    let mut writer = store.writer(u64::MAX);
    writer.write(sample(2 * PART_BYTES + 1)).await.unwrap();
    let staged = writer.finish().await.unwrap();
    assert_eq!(objects(&store).await, 0, "a staged object is not listed");
    drop(staged);
    assert_nothing_left(&store).await;
}

/// The last put wins; removing twice is no error.
pub async fn replacing_and_removing(store: BlobStore) {
    store.put("x/a", Bytes::from_static(b"one")).await.unwrap();
    store.put("x/a", Bytes::from_static(b"two")).await.unwrap();
    store
        .put("xy/a", Bytes::from_static(b"other"))
        .await
        .unwrap();
    assert_eq!(store.get("x/a", 9).await.unwrap(), "two");
    let listed: Vec<_> = store.list("x").try_collect().await.unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|object| object.key.as_str())
            .collect::<Vec<_>>(),
        ["x/a"]
    );
    assert!(listed[0].modified > 1_600_000_000_000_000 && listed[0].size_bytes == 3);
    store.delete("x/a").await.unwrap();
    store.delete("x/a").await.unwrap();
    assert_eq!(objects(&store).await, 1);
}

fn sample(size: usize) -> Bytes {
    (0..size)
        .map(|index| (index * 31 + index / 251) as u8)
        .collect::<Vec<_>>()
        .into()
}

fn chunks(
    data: &Bytes,
    size: usize,
) -> impl futures::Stream<Item = std::io::Result<Bytes>> + Send + use<> {
    let data = data.clone();
    let starts = (0..data.len()).step_by(size);
    stream::iter(starts.map(move |start| Ok(data.slice(start..data.len().min(start + size)))))
}

async fn objects(store: &BlobStore) -> usize {
    store.list("").try_collect::<Vec<_>>().await.unwrap().len()
}

/// Removal after a drop runs beside the test: nothing must be left soon.
async fn assert_nothing_left(store: &BlobStore) {
    for _ in 0..200 {
        let staged: Vec<_> = store.backend.list(None).try_collect().await.unwrap();
        let partial = store.local_root.as_ref().map_or(0, |root| files(root));
        if staged.is_empty() && partial == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("something is left in the store");
}

fn files(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            if entry.file_type().unwrap().is_dir() {
                files(&entry.path())
            } else {
                1
            }
        })
        .sum()
}
