//! The contract on every backend, and what only local files can show.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use mediamesh_blob::{BlobStore, contract};

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    contract::all(BlobStore::memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_files_keep_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::sync::atomic::AtomicUsize::new(0);
    contract::all(|| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        BlobStore::local(folder.path().join(number.to_string())).unwrap()
    })
    .await;
}

#[tokio::test]
async fn half_written_files_of_a_crash_are_removed_by_age() {
    let folder = tempfile::tempdir().unwrap();
    let store = BlobStore::local(folder.path()).unwrap();
    store
        .put("t/originals/whole", Bytes::from_static(b"whole"))
        .await
        .unwrap();
    std::fs::create_dir_all(folder.path().join("staging")).unwrap();
    for name in ["staging/0190", "staging/0191#1", "t/originals/half#12"] {
        std::fs::write(folder.path().join(name), b"half").unwrap();
    }
    assert_eq!(
        store.remove_stale(Duration::from_secs(3600)).await.unwrap(),
        0,
        "too young"
    );
    assert_eq!(store.remove_stale(Duration::ZERO).await.unwrap(), 3);
    assert_eq!(store.get("t/originals/whole", 9).await.unwrap(), "whole");
    // A restart sees what was published.
    let again = BlobStore::local(folder.path()).unwrap();
    assert_eq!(again.head("t/originals/whole").await.unwrap().size_bytes, 5);
}
