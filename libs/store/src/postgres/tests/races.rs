//! What several processes may do at once, which the embedded database does in turns by itself.

use std::{collections::HashSet, time::Duration};

use super::*;
use crate::{JobStore as _, SearchStore as _, error::Error, job::Sweep, media::ItemPatch};

const LEASE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_job_is_claimed_by_one_worker() {
    let Some((test, store)) = store().await else {
        return;
    };
    const JOBS: usize = 400;
    for _ in 0..JOBS {
        store.enqueue(job(None)).await.unwrap();
    }
    let workers = (0..8).map(|n| {
        let test = test.clone();
        tokio::spawn(async move {
            // a pool of its own, as another process has
            let store = open(&test).await;
            let mut mine = Vec::new();
            loop {
                let claimed = store.claim(&format!("w{n}"), LEASE, 7).await.unwrap();
                if claimed.is_empty() {
                    return mine;
                }
                for job in claimed {
                    store.complete(&job.lease()).await.unwrap();
                    mine.push(job.id);
                }
            }
        })
    });
    let all: Vec<_> = futures::future::join_all(workers).await;
    let all: Vec<_> = all.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(all.len(), JOBS, "each once");
    assert_eq!(all.into_iter().collect::<HashSet<_>>().len(), JOBS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_bytes_and_the_same_unique_job_come_in_once() {
    let Some((_test, store)) = store().await else {
        return;
    };
    let uploads = (0..12).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let unique = NewJob {
                unique_key: Some("k".into()),
                ..job(None)
            };
            let id = store.enqueue(unique).await.unwrap();
            let new = matches!(
                store
                    .insert_item(new_item(1, "a.jpg"), job(None))
                    .await
                    .unwrap(),
                Inserted::New { .. }
            );
            (id, new)
        })
    });
    let done: Vec<_> = futures::future::join_all(uploads).await;
    let done: Vec<_> = done.into_iter().map(Result::unwrap).collect();
    assert_eq!(done.iter().filter(|(_, new)| *new).count(), 1);
    assert_eq!(
        done.iter().map(|(id, _)| id).collect::<HashSet<_>>().len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_changes_to_one_version_one_is_refused() {
    let Some((_test, store)) = store().await else {
        return;
    };
    let item = insert(&store, new_item(1, "a.jpg")).await;
    let changes = (0..8).map(|n| {
        let (store, id) = (store.clone(), item.id);
        tokio::spawn(async move {
            let patch = ItemPatch {
                caption: Some(format!("caption {n}")),
                ..ItemPatch::default()
            };
            store.update_item(TENANT, id, Some(1), patch, None).await
        })
    });
    let done = futures::future::join_all(changes).await;
    let (good, stale): (Vec<_>, Vec<_>) = done
        .into_iter()
        .map(Result::unwrap)
        .partition(Result::is_ok);
    assert_eq!((good.len(), stale.len()), (1, 7));
    for refused in stale {
        assert!(matches!(refused, Err(Error::EtagMismatch { current: 2 })));
    }
}

/// A sequence number drawn earlier must not be committed later: whoever has read past it would
/// never see it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_of_the_change_log_misses_no_vector() {
    let Some((_test, store)) = store().await else {
        return;
    };
    const ITEMS: u8 = 120;
    let mut items = Vec::new();
    for n in 0..ITEMS {
        items.push(insert(&store, new_item(n, "a.jpg")).await.id);
    }
    let reader = {
        let store = store.clone();
        tokio::spawn(async move {
            let (mut after, mut seen) = (0, HashSet::new());
            while seen.len() < usize::from(ITEMS) {
                let log = store.vector_changes(TENANT, "m", after, 1000).await;
                let rows = log.unwrap().rows;
                after = rows.last().map_or(after, |row| row.seq);
                seen.extend(rows.into_iter().map(|row| row.item_key));
            }
        })
    };
    let writers = items.into_iter().map(|id| {
        let store = store.clone();
        tokio::spawn(async move {
            let vector = vec![("m".to_owned(), vec![0, 0x3c])];
            store.put_embeddings(TENANT, id, vector).await.unwrap();
        })
    });
    futures::future::join_all(writers).await;
    tokio::time::timeout(Duration::from_secs(20), reader)
        .await
        .expect("a vector was passed over")
        .unwrap();
}

/// Whoever waits for nobody is part of no circle: a rescue and a sweep pass over what another holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rescue_and_a_sweep_wait_for_nobody() {
    let Some((test, store)) = store().await else {
        return;
    };
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(store.enqueue(job(None)).await.unwrap());
    }
    let none = Duration::ZERO;
    let claimed = store.claim("gone", none, 3).await.unwrap();
    let ended = store.claim("w", LEASE, 1).await.unwrap();
    store.complete(&ended[0].lease()).await.unwrap();
    let held = [claimed[0].id, ended[0].id];
    let asks = test.clone();
    let holder = tokio::spawn(async move {
        let [one, other] = held;
        let hold = format!(
            "BEGIN; SELECT id FROM processing_jobs WHERE id IN ('{one}', '{other}') FOR UPDATE; \
             SELECT pg_sleep(4); COMMIT"
        );
        test.psql(&hold).await.unwrap();
    });
    // asleep means that its rows are held
    let sleeps = "SELECT count(*) FROM pg_stat_activity \
                  WHERE datname = current_database() AND wait_event = 'PgSleep'";
    tokio::time::timeout(Duration::from_secs(20), async {
        while asks.psql(sleeps).await.unwrap().trim() != "1" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("nobody holds the rows");
    let began = std::time::SystemTime::now();
    let sweep = Sweep {
        succeeded_before: i64::MAX,
        cancelled_before: i64::MAX,
        failed_before: i64::MAX,
        limit: 100,
    };
    assert_eq!(store.rescue(false).await.unwrap(), 2);
    assert_eq!(store.sweep(sweep).await.unwrap(), 0);
    assert!(began.elapsed().unwrap() < Duration::from_secs(2));
    holder.await.unwrap();
    assert_eq!(store.rescue(false).await.unwrap(), 1);
    assert_eq!(store.sweep(sweep).await.unwrap(), 1);
}
