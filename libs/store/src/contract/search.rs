use mediamesh_proto::{MediaItemId, TenantId};

use super::*;
use crate::{
    JobStore as _, SearchStore as _,
    error::Error,
    job::JobKind,
    media::{Color, ItemPatch, MediaItem},
    search::{ColorFilter, Filter, ItemPlace, Reads, Sequences, TextDepth},
};

const DEPTH: TextDepth = TextDepth {
    hits: 10,
    block: 2000,
};

async fn found(store: &Store, query: &str) -> Vec<i64> {
    let hits = store
        .full_text(TENANT, query, &Filter::default(), DEPTH)
        .await
        .unwrap();
    hits.iter().map(|hit| i64::from(hit.item_key)).collect()
}

#[tokio::test]
async fn full_text_follows_every_change_of_an_item() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let item = insert(&store, new_item(1, "IMG_2024 Lighthouse.jpg")).await;
    insert(&store, new_item(2, "harbour.jpg")).await;
    assert_eq!(found(&store, "lighthouses").await, [item.item_key]);
    assert_eq!(found(&store, "light").await, [item.item_key]);
    assert!(
        store
            .full_text(STRANGER, "lighthouse", &Filter::default(), DEPTH)
            .await
            .unwrap()
            .is_empty()
    );
    let patch = ItemPatch {
        caption: Some("storm over the café".into()),
        ..ItemPatch::default()
    };
    store
        .update_item(TENANT, item.id, None, patch, None)
        .await
        .unwrap();
    assert_eq!(found(&store, "cafe storm").await, [item.item_key]);
    store.delete_item(TENANT, item.id, None).await.unwrap();
    assert!(found(&store, "lighthouse").await.is_empty());
    let nothing = store
        .full_text(TENANT, "\"'*)(", &Filter::default(), DEPTH)
        .await;
    assert!(matches!(nothing, Err(Error::NoWords)));
}

#[tokio::test]
async fn items_with_all_words_come_before_items_with_some() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let some = insert(&store, new_item(1, "red red red.jpg")).await;
    let all = insert(&store, new_item(2, "red boat.jpg")).await;
    assert_eq!(
        found(&store, "red boat ").await,
        [all.item_key, some.item_key]
    );
}

#[tokio::test]
async fn as_many_as_are_wanted_come_back_whatever_the_block() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    for n in 0..7 {
        insert(&store, new_item(n, &format!("red boat {n}.jpg"))).await;
    }
    let keys = async |hits: usize, block: usize| {
        let depth = TextDepth { hits, block };
        let hits = store
            .full_text(TENANT, "red boat ", &Filter::default(), depth)
            .await
            .unwrap();
        hits.iter().map(|hit| hit.item_key).collect::<Vec<_>>()
    };
    assert_eq!(keys(7, 2).await.len(), 7);
    assert_eq!(keys(7, 2).await[..3], keys(3, 2).await);
    assert_eq!(keys(10, 3).await.len(), 7);
}

#[tokio::test]
async fn filters_match_exactly() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let wide = insert(
        &store,
        NewMediaItem {
            tags: vec!["Sea".into()],
            ..new_item(10, "wide.jpg")
        },
    )
    .await;
    let red = Color {
        hex: "#ff0000".into(),
        share: 0.5,
        oklab: [0.628, 0.225, 0.126],
    };
    finish(
        &store,
        &wide,
        Processed {
            colors: vec![red],
            capture_time: Some(5),
            ..processed(40, 30)
        },
    )
    .await;
    let tall = insert(
        &store,
        NewMediaItem {
            folder: "a/b".into(),
            ..new_item(20, "tall.jpg")
        },
    )
    .await;
    finish(&store, &tall, processed(30, 40)).await;
    let keys = async |filter: Filter| {
        let keys = store.matching_keys(TENANT, &filter).await.unwrap();
        keys.into_iter().map(i64::from).collect::<Vec<_>>()
    };
    let any = Filter::default();
    assert_eq!(keys(any.clone()).await, [wide.item_key, tall.item_key]);
    assert_eq!(
        keys(Filter {
            orientations: vec![2],
            ..any.clone()
        })
        .await,
        [tall.item_key]
    );
    assert_eq!(
        keys(Filter {
            tags: vec!["sea".into()],
            ..any.clone()
        })
        .await,
        [wide.item_key]
    );
    assert_eq!(
        keys(Filter {
            folder: "a".into(),
            ..any.clone()
        })
        .await,
        [tall.item_key]
    );
    assert_eq!(
        keys(Filter {
            max_time: Some(6),
            ..any.clone()
        })
        .await,
        [wide.item_key]
    );
    assert_eq!(
        keys(Filter {
            min_size_bytes: 11,
            ..any.clone()
        })
        .await,
        [tall.item_key]
    );
    assert_eq!(
        keys(Filter {
            min_width_pixels: 31,
            ..any.clone()
        })
        .await,
        [wide.item_key]
    );
    assert_eq!(
        keys(Filter {
            content_types: vec!["image/png".into()],
            ..any.clone()
        })
        .await,
        Vec::<i64>::new()
    );
    let near = |l: f32| ColorFilter {
        oklab: [l, 0.225, 0.126],
        max_distance: 0.1,
        min_share: 0.1,
    };
    assert_eq!(
        keys(Filter {
            color: Some(near(0.65)),
            ..any.clone()
        })
        .await,
        [wide.item_key]
    );
    assert_eq!(
        keys(Filter {
            color: Some(near(0.9)),
            ..any
        })
        .await,
        Vec::<i64>::new()
    );
}

#[tokio::test]
async fn vectors_are_a_log_with_removals() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let item = insert(&store, new_item(1, "a.jpg")).await;
    let before = store.corpus(TENANT).await.unwrap().version;
    let put = async |bytes: Vec<u8>| {
        store
            .put_embeddings(TENANT, item.id, vec![("m".into(), bytes)])
            .await
            .unwrap()
    };
    let first = put(vec![1, 2]).await.unwrap();
    let second = put(vec![3, 4]).await.unwrap();
    assert!(second > first);
    assert!(store.corpus(TENANT).await.unwrap().version > before);
    let log = store.vector_changes(TENANT, "m", 0, 10).await.unwrap().rows;
    assert_eq!(
        log.iter()
            .map(|row| (row.seq, row.vector.clone()))
            .collect::<Vec<_>>(),
        [(second, Some(vec![3, 4]))]
    );
    assert_eq!(store.vector_spaces().await.unwrap()[0].dims, 1);
    store.delete_item(TENANT, item.id, None).await.unwrap();
    let log = store
        .vector_changes(TENANT, "m", second, 10)
        .await
        .unwrap()
        .rows;
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].vector, None);
    assert!(put(vec![5, 6]).await.is_none());
}

#[tokio::test]
async fn rows_of_removed_vectors_are_swept_and_those_of_items_that_are_there_stay() {
    const NOW: std::time::Duration = std::time::Duration::ZERO;
    let Some((_dir, store)) = store().await else {
        return;
    };
    let put = async |item: &MediaItem, vector: Vec<u8>| {
        let put = store.put_embeddings(TENANT, item.id, vec![("m".into(), vector)]);
        put.await.unwrap().unwrap()
    };
    let rows = async || {
        let log = store.vector_changes(TENANT, "m", 0, 10).await.unwrap().rows;
        log.iter().map(|row| row.seq).collect::<Vec<_>>()
    };
    assert_eq!(
        store.sequences(TENANT, "m").await.unwrap(),
        Sequences::default()
    );
    assert_eq!(
        store.sweep_removed(TENANT, "m", None, NOW).await.unwrap(),
        0
    );
    let [kept, without, early, late] = [1, 2, 3, 4].map(|n| insert(&store, new_item(n, "a.jpg")));
    let (kept, without) = (kept.await, without.await);
    let (early, late) = (early.await, late.await);
    let of_kept = put(&kept, vec![1, 2]).await;
    let of_without = put(&without, Vec::new()).await;
    for item in [&early, &late] {
        put(item, vec![3, 4]).await;
    }
    store.delete_item(TENANT, early.id, None).await.unwrap();
    let taken_out = store.sequences(TENANT, "m").await.unwrap().last;
    store.delete_item(TENANT, late.id, None).await.unwrap();
    let last = store.sequences(TENANT, "m").await.unwrap().last;
    assert!(last > taken_out);

    // it may be news to some for an hour
    let hour = std::time::Duration::from_secs(3600);
    assert_eq!(
        store.sweep_removed(TENANT, "m", None, hour).await.unwrap(),
        0
    );
    assert_eq!(store.sequences(TENANT, "m").await.unwrap().swept, 0);
    // whoever reads the log has come as far as the first
    let swept = store.sweep_removed(TENANT, "m", Some(taken_out), NOW).await;
    assert_eq!(swept.unwrap(), 1);
    assert_eq!(rows().await, [of_kept, of_without, last]);
    let log = store.sequences(TENANT, "m").await.unwrap();
    assert_eq!(
        log,
        Sequences {
            last,
            swept: taken_out
        }
    );
    // the last number is known although its row is gone
    assert_eq!(
        store.sweep_removed(TENANT, "m", None, NOW).await.unwrap(),
        1
    );
    assert_eq!(rows().await, [of_kept, of_without]);
    let log = store.sequences(TENANT, "m").await.unwrap();
    assert_eq!(log, Sequences { last, swept: last });
    assert_eq!(
        store.sweep_removed(TENANT, "m", None, NOW).await.unwrap(),
        0
    );
    assert_eq!(store.sequences(TENANT, "m").await.unwrap(), log);

    // an item that was looked at goes later
    store.delete_item(TENANT, without.id, None).await.unwrap();
    assert_eq!(
        store.sweep_removed(TENANT, "m", None, NOW).await.unwrap(),
        1
    );
    assert_eq!(rows().await, [of_kept]);
    // more than is looked at together, and some that stay among them
    let mut stay = vec![of_kept];
    for n in 10..30 {
        let item = insert(&store, new_item(n, "a.jpg")).await;
        let seq = put(&item, vec![n, n]).await;
        if n % 5 == 0 {
            stay.push(seq);
        } else {
            store.delete_item(TENANT, item.id, None).await.unwrap();
        }
    }
    let swept = store.sweep_removed(TENANT, "m", None, NOW).await;
    assert_eq!(swept.unwrap(), 16);
    assert_eq!(rows().await, stay);
    assert_eq!(
        store.sweep_removed(STRANGER, "m", None, NOW).await.unwrap(),
        0
    );
}

async fn ids_of(
    store: &Store,
    reads: Reads,
    after: Option<ItemPlace>,
    limit: i64,
) -> Vec<(TenantId, MediaItemId)> {
    let missing = store.missing_embeddings("m", reads, after, limit).await;
    let missing = missing.unwrap().into_iter();
    missing.map(|item| (item.tenant, item.id)).collect()
}

#[tokio::test]
async fn items_without_a_vector_are_walked_page_by_page() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let mut items = Vec::new();
    for tenant_id in [STRANGER, TENANT] {
        for n in 1..4 {
            let item = NewMediaItem {
                tenant_id,
                ..new_item(n, "a.jpg")
            };
            let new = NewJob {
                media_item_id: Some(item.id),
                ..NewJob::new(tenant_id, JobKind::ProcessMedia)
            };
            let Inserted::New { item, .. } = store.insert_item(item, new).await.unwrap() else {
                panic!("a duplicate");
            };
            items.push(*item);
        }
    }
    let lease = std::time::Duration::from_secs(60);
    for job in store.claim("w", lease, 10).await.unwrap() {
        let (lease, id) = (job.lease(), job.media_item_id.unwrap());
        let done = store.finish_processing(&lease, job.tenant_id, id, processed(4, 3), None);
        done.await.unwrap();
    }
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = store.missing_embeddings("m", Reads::Pixels, after, 2).await;
        let page = page.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.place());
        seen.extend(page.iter().map(|item| (item.tenant, item.id)));
    }
    let mut all: Vec<_> = items.iter().map(|item| (item.tenant_id, item.id)).collect();
    all.sort_by_key(|(tenant, _)| *tenant);
    assert_eq!(seen, all);
}

#[tokio::test]
async fn items_without_a_vector_are_told() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let item = insert(&store, new_item(1, "a.jpg")).await;
    let missing = async |reads| ids_of(&store, reads, None, 10).await;
    assert!(missing(Reads::Pixels).await.is_empty(), "not processed yet");
    finish(&store, &item, processed(4, 3)).await;
    assert_eq!(missing(Reads::Pixels).await, [(TENANT, item.id)]);
    // an empty vector says that there is none, which is not to be asked again
    store
        .put_embeddings(TENANT, item.id, vec![("m".into(), Vec::new())])
        .await
        .unwrap();
    assert!(missing(Reads::Pixels).await.is_empty());
    let log = store.vector_changes(TENANT, "m", 0, 10).await.unwrap().rows;
    assert_eq!((log.len(), log[0].vector.clone()), (1, None));
}

#[tokio::test]
async fn an_item_without_pixels_has_words_to_embed() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let film = insert(&store, new_item(1, "film.mp4")).await;
    finish(&store, &film, processed(0, 0)).await;
    let missing = async |reads| ids_of(&store, reads, None, 10).await;
    assert_eq!(missing(Reads::Pixels).await, []);
    assert_eq!(missing(Reads::Text).await, [(TENANT, film.id)]);

    let put = async || {
        let vectors = vec![("m".to_owned(), vec![1, 2])];
        store
            .put_embeddings(TENANT, film.id, vectors)
            .await
            .unwrap();
    };
    put().await;
    assert!(missing(Reads::Text).await.is_empty());
    // a change while no model of words is in use makes the vector stale
    let patch = ItemPatch {
        caption: Some("wedding".into()),
        ..ItemPatch::default()
    };
    store
        .update_item(TENANT, film.id, None, patch, None)
        .await
        .unwrap();
    assert_eq!(missing(Reads::Text).await, [(TENANT, film.id)]);
    put().await;
    assert!(missing(Reads::Text).await.is_empty());
}

#[tokio::test]
async fn what_must_be_absent_holds_alone_and_with_words() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let dog = insert(&store, new_item(1, "dog at the beach.jpg")).await;
    let sun = insert(&store, new_item(2, "sun at the beach.jpg")).await;
    let cat = insert(&store, new_item(3, "cat.jpg")).await;
    let (wanted, without) = crate::search::split_unwanted("beach -dogs");
    let filter = Filter {
        without,
        ..Filter::default()
    };
    let hits = store
        .full_text(TENANT, &wanted, &filter, DEPTH)
        .await
        .unwrap();
    assert_eq!(hits.len(), 1, "{hits:?}");
    assert_eq!(i64::from(hits[0].item_key), sun.item_key);
    let rest = store
        .newest_keys(TENANT, &filter, true, 0, 10)
        .await
        .unwrap();
    assert!(!rest.contains(&u32::try_from(dog.item_key).unwrap()));
    assert_eq!(rest.len(), 2, "{rest:?}: the sun and {}", cat.item_key);
}
