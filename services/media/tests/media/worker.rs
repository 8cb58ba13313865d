//! The worker: pipeline, failures, leases, backfill.

use std::{
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
};

use mediamesh_proto::{
    MediaItemId,
    media::v1::{GetQueueStatsRequest, MediaItem, UpdateMediaItemRequest, media_item::State},
    pbjson_types::FieldMask,
};
use mediamesh_store::{
    Error as StoreError, JobStore as _, MediaStore as _, SearchStore as _, job::JobState,
    search::Reads,
};

use crate::{
    fakes::{model, words_model},
    rig::{Rig, TENANT, photo, quick},
};

async fn uploaded(rig: &Rig, name: &str, bytes: Vec<u8>) -> String {
    rig.upload(name, bytes)
        .await
        .unwrap()
        .media_item
        .unwrap()
        .id
}

/// Waits until no job waits or runs; answers how many succeeded and failed.
async fn idle(rig: &Rig) -> (i64, i64) {
    rig.until("the queue is empty", async || {
        let stats = rig
            .jobs
            .clone()
            .get_queue_stats(GetQueueStatsRequest {})
            .await
            .unwrap()
            .into_inner();
        stats.waiting + stats.active + stats.delayed == 0
    })
    .await;
    let stats = rig
        .jobs
        .clone()
        .get_queue_stats(GetQueueStatsRequest {})
        .await
        .unwrap()
        .into_inner();
    (stats.completed, stats.failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photo_becomes_ready_with_all_that_is_derived_from_it() {
    let rig = Rig::working(quick()).await;
    let id = uploaded(&rig, "cat.jpg", photo("cat.jpg")).await;
    let item: MediaItem = rig.settled(&id).await;
    assert_eq!(item.state(), State::Ready, "{}", item.failure_detail);
    assert!(item.width_pixels > Some(0) && item.height_pixels > Some(0));
    assert!(!item.colors.is_empty() && item.thumb_hash.is_some() && item.blur_hash.is_some());
    assert_eq!(item.perceptual_hash.map(|hash| hash.len()), Some(16));
    let names: Vec<_> = item
        .renditions
        .iter()
        .map(|rendition| rendition.name.as_str())
        .collect();
    for name in ["thumb_150", "thumb_300", "thumb_600", "main"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(
        item.renditions
            .is_sorted_by_key(|rendition| rendition.width_pixels)
    );
    idle(&rig).await;
    assert_eq!(
        *rig.seen.indexed.lock(),
        [(id.clone(), vec!["builtin/visual@1/f32".to_owned()])]
    );
    let keys = rig.objects().await;
    assert!(
        keys.iter()
            .any(|key| key.contains("/thumbnails/") && key.ends_with("-300w.jpg")),
        "{keys:?}"
    );
    let text = rig.metrics.encode();
    assert!(
        text.contains("mediamesh_media_jobs_total{kind=\"process_media\",outcome=\"succeeded\"} 1"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_photo_fails_with_a_reason_and_stays_downloadable() {
    let rig = Rig::working(quick()).await;
    let mut data = photo("cat.jpg");
    data.truncate(data.len() / 2);
    let id = uploaded(&rig, "half.jpg", data.clone()).await;
    let item = rig.settled(&id).await;
    assert_eq!(
        (item.state(), item.failure_reason.as_str()),
        (State::Failed, "ERROR_REASON_CORRUPT_IMAGE")
    );
    assert!(!item.failure_detail.is_empty());
    assert_eq!(idle(&rig).await, (0, 1), "one attempt is enough");
    let key = rig.objects().await.remove(0);
    assert!(rig.blobs.get(&key, u64::MAX).await.unwrap() == data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_is_ready_without_renditions() {
    let rig = Rig::working(quick()).await;
    let mut film = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom".to_vec();
    film.resize(10_000, 0);
    let id = uploaded(&rig, "film.mp4", film).await;
    let item = rig.settled(&id).await;
    assert_eq!((item.state(), item.renditions.len()), (State::Ready, 0));
    assert_eq!(item.content_type, "video/mp4");
    // what is made of pixels is absent, not zero: two films are no copies of each other
    assert_eq!(
        (item.perceptual_hash, item.thumb_hash, item.blur_hash),
        (None, None, None)
    );
    assert_eq!((item.width_pixels, item.height_pixels), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn embedding_that_is_down_is_tried_again_without_decoding_again() {
    let mut options = quick();
    options.worker.max_embed_attempts = 1_000;
    options.worker.max_backoff_millis = 50;
    let rig = Rig::working(options).await;
    rig.seen.embedding_down.store(true, Ordering::SeqCst);
    let id = uploaded(&rig, "cat.jpg", photo("cat.jpg")).await;
    assert_eq!(
        rig.settled(&id).await.state(),
        State::Ready,
        "searchable by words at once"
    );
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(rig.seen.indexed.lock().is_empty());
    rig.seen.embedding_down.store(false, Ordering::SeqCst);
    rig.until("the item is indexed", async || {
        !rig.seen.indexed.lock().is_empty()
    })
    .await;
    idle(&rig).await;
    let text = rig.metrics.encode();
    assert!(
        text.contains("mediamesh_media_jobs_total{kind=\"process_media\",outcome=\"succeeded\"} 1"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_model_sees_every_item() {
    let rig = Rig::working(quick()).await;
    let id = uploaded(&rig, "cat.jpg", photo("cat.jpg")).await;
    rig.settled(&id).await;
    idle(&rig).await;
    rig.seen.indexed.lock().clear();
    rig.seen.models.lock().push(model("clip"));
    rig.until("the new model's vector is indexed", async || {
        rig.seen
            .indexed
            .lock()
            .contains(&(id.clone(), vec!["clip@1/f32".to_owned()]))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_are_embedded_and_again_when_they_change() {
    let rig = Rig::working(quick()).await;
    rig.seen.models.lock().push(words_model("words"));
    let id = uploaded(&rig, "IMG_1 old harbour.jpg", photo("cat.jpg")).await;
    rig.settled(&id).await;
    idle(&rig).await;
    assert_eq!(*rig.seen.texts.lock(), ["old harbour"]);

    let change = async |paths: &[&str], item: MediaItem| {
        let request = UpdateMediaItemRequest {
            media_item: Some(MediaItem {
                id: id.clone(),
                ..item
            }),
            update_mask: Some(FieldMask {
                paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            }),
        };
        rig.media.clone().update_media_item(request).await.unwrap();
        idle(&rig).await;
    };
    let told = MediaItem {
        caption: "a dog runs".to_owned(),
        tags: vec!["beach".to_owned()],
        ..MediaItem::default()
    };
    change(&["caption", "tags"], told.clone()).await;
    let words = "a dog runs. beach. old harbour";
    assert_eq!(rig.seen.texts.lock().last().unwrap(), words);
    change(&["caption", "tags"], told).await;
    assert_eq!(rig.seen.texts.lock().len(), 2, "nothing changed");

    // an item without words leaves the space, and is not asked for again
    let nameless = MediaItem {
        display_name: "IMG_1.jpg".to_owned(),
        ..MediaItem::default()
    };
    change(&["caption", "tags", "display_name"], nameless).await;
    assert_eq!(rig.seen.texts.lock().len(), 2);
    let space = "words@1/f32";
    let log = rig.store.vector_changes(TENANT, space, 0, 10).await;
    assert!(log.unwrap().rows.last().unwrap().vector.is_none());
    let missing = rig
        .store
        .missing_embeddings(space, Reads::Text, None, 10)
        .await;
    assert!(missing.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_model_of_words_reads_every_item_even_films() {
    let rig = Rig::working(quick()).await;
    let mut film = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom".to_vec();
    film.resize(10_000, 0);
    for (name, bytes) in [("cat.jpg", photo("cat.jpg")), ("wedding.mp4", film)] {
        let id = uploaded(&rig, name, bytes).await;
        rig.settled(&id).await;
    }
    idle(&rig).await;
    rig.seen.models.lock().push(words_model("words"));
    rig.until("both are read", async || rig.seen.texts.lock().len() == 2)
        .await;
    let mut texts = rig.seen.texts.lock().clone();
    texts.sort();
    assert_eq!(texts, ["cat", "wedding"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_kills_its_worker_is_given_up() {
    let mut options = quick();
    options.worker.max_lost_attempts = 3;
    let mut rig = Rig::new(options).await;
    let id = uploaded(&rig, "cat.jpg", photo("cat.jpg")).await;
    // Three workers take it and die: their leases end without a result.
    for _ in 0..3 {
        let claimed = rig.store.claim("doomed", Duration::ZERO, 1).await.unwrap();
        assert_eq!(claimed.len(), 1);
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(rig.store.rescue(false).await.unwrap(), 1);
    }
    rig.start();
    let item = rig.settled(&id).await;
    assert_eq!(
        (item.state(), item.failure_reason.as_str()),
        (State::Failed, "ERROR_REASON_INTERNAL")
    );
    assert_eq!(
        rig.seen.embedded.load(Ordering::SeqCst),
        0,
        "it was not opened again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_workers_job_is_rescued_and_its_late_result_refused() {
    let mut rig = Rig::new(quick()).await;
    let id = uploaded(&rig, "cat.jpg", photo("cat.jpg")).await;
    let stale = rig
        .store
        .claim("slow", Duration::from_millis(300), 1)
        .await
        .unwrap()
        .remove(0);
    rig.start();
    assert_eq!(rig.settled(&id).await.state(), State::Ready);
    idle(&rig).await;
    let late = rig.store.complete(&stale.lease()).await;
    assert!(
        matches!(late, Err(StoreError::LeaseLost { .. })),
        "{late:?}"
    );
    let job = rig.store.get_job(TENANT, stale.id).await.unwrap().unwrap();
    assert_eq!((job.state, job.attempts), (JobState::Succeeded, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_original_fails_the_item_at_once() {
    let mut rig = Rig::new(quick()).await;
    let id = uploaded(&rig, "cat.jpg", photo("cat.jpg")).await;
    let key = rig.objects().await.remove(0);
    rig.blobs.delete(&key).await.unwrap();
    rig.start();
    let item = rig.settled(&id).await;
    assert_eq!(item.failure_reason, "ERROR_REASON_DATA_CORRUPT");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_photos_are_worked_on_without_a_false_stall() {
    let mut options = quick();
    options.worker.lease_millis = 600;
    let rig = Rig::working(options).await;
    let mut ids = Vec::new();
    for index in 0..20 {
        let mut data = photo("cat.jpg");
        data.push(index);
        ids.push(uploaded(&rig, &format!("{index}.jpg"), data).await);
    }
    for id in &ids {
        assert_eq!(rig.settled(id).await.state(), State::Ready);
    }
    idle(&rig).await;
    let text = rig.metrics.encode();
    assert!(
        text.contains("mediamesh_media_jobs_rescued_total 0"),
        "{text}"
    );
    let parsed: Vec<MediaItemId> = ids.iter().map(|id| id.parse().unwrap()).collect();
    assert_eq!(
        rig.store.get_items(TENANT, &parsed).await.unwrap().len(),
        20
    );
    assert_eq!(rig.seen.indexed.lock().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_without_a_row_are_swept_when_they_are_old() {
    let mut options = quick();
    options.worker.job_timeout_secs = 1;
    options.worker.orphan_age_secs = 2;
    options.worker.schedules.sweep_blobs.cron = "* * * * * *".to_owned();
    let rig = Rig::working(options).await;
    let mut film = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom".to_vec();
    film.resize(5_000, 0);
    let id = uploaded(&rig, "film.mp4", film).await;
    rig.blobs
        .put("t/originals/orphan", "bytes".into())
        .await
        .unwrap();
    rig.until("the orphan is removed", async || {
        !rig.objects()
            .await
            .contains(&"t/originals/orphan".to_owned())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(rig.objects().await.len(), 1, "the film stays");
    assert_eq!(rig.get(&id).await.unwrap().state(), State::Ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_of_another_database_is_not_swept() {
    let mut options = quick();
    options.worker.job_timeout_secs = 1;
    options.worker.orphan_age_secs = 2;
    options.worker.schedules.sweep_blobs.cron = "* * * * * *".to_owned();
    let rig = Rig::working(options).await;
    let put = async |key: String| rig.blobs.put(&key, "bytes".into()).await.unwrap();
    let is_gone = async |key: &str| !rig.objects().await.contains(&key.to_owned());

    // a database without items
    put("t/originals/one".to_owned()).await;
    put("t/uploads/one".to_owned()).await;
    rig.until("an upload ends", async || is_gone("t/uploads/one").await)
        .await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(rig.objects().await, ["t/originals/one"]);

    let mut film = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom".to_vec();
    film.resize(5_000, 0);
    uploaded(&rig, "film.mp4", film).await;
    rig.until("it is ours", async || is_gone("t/originals/one").await)
        .await;

    // one that knows nearly nothing of what is stored
    let other = rig.folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    for number in 0..120 {
        let file = std::fs::File::create(other.join(number.to_string())).unwrap();
        let hour = Duration::from_secs(3_600);
        file.set_modified(SystemTime::now() - hour).unwrap();
    }
    // all at once: no sweep sees a few of them only
    std::fs::rename(&other, rig.folder.path().join("blobs/other")).unwrap();
    put("t/uploads/two".to_owned()).await;
    rig.until("an upload ends", async || is_gone("t/uploads/two").await)
        .await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(rig.objects().await.len(), 121);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_lets_a_running_job_end() {
    let mut rig = Rig::new(quick()).await;
    let id = uploaded(&rig, "cat.jpg", photo("cat.jpg")).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let worker = tokio::spawn(
        rig.worker
            .take()
            .unwrap()
            .run(stop.clone().cancelled_owned()),
    );
    rig.until("the job was taken", async || {
        rig.get(&id).await.unwrap().state() != State::Pending
    })
    .await;
    stop.cancel();
    worker.await.unwrap().unwrap();
    let stats = rig.store.queue_stats(None).await.unwrap();
    assert_eq!((stats.active, stats.completed), (0, 1));
    assert_eq!(rig.get(&id).await.unwrap().state(), State::Ready);
}
