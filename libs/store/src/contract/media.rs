use super::*;
use crate::{
    error::Error,
    media::{ItemPatch, ListQuery, Rendition, State},
};

#[tokio::test]
async fn same_bytes_are_stored_once_per_tenant() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let first = insert(&store, new_item(1, "a.jpg")).await;
    let again = store
        .insert_item(new_item(1, "b.jpg"), job(None))
        .await
        .unwrap();
    assert!(matches!(again, Inserted::Duplicate(item) if item.id == first.id));
    let other = NewMediaItem {
        tenant_id: STRANGER,
        ..new_item(1, "c.jpg")
    };
    assert!(matches!(
        store.insert_item(other, job(None)).await.unwrap(),
        Inserted::New { .. }
    ));
    assert_eq!(
        store
            .count_items(TENANT, &ListQuery::default())
            .await
            .unwrap(),
        1
    );
}

#[tokio::test]
async fn committed_rows_outlive_the_process() {
    let Some((dir, store)) = store().await else {
        return;
    };
    let item = insert(&store, new_item(1, "a.jpg")).await;
    drop(store);
    let store = open(&dir).await;
    let found = store.get_items(TENANT, &[item.id]).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].display_name, "a.jpg");
}

#[tokio::test]
async fn pages_stay_stable_while_items_come_in() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let mut expected = Vec::new();
    for n in 0..7 {
        expected.insert(0, insert(&store, new_item(n, "x.jpg")).await.id);
    }
    let mut query = ListQuery {
        limit: 3,
        ..ListQuery::default()
    };
    let mut seen = Vec::new();
    for n in 0..4 {
        let page = store.list_items(TENANT, &query).await.unwrap();
        query.after = page.last().map(|item| (item.create_time, item.id));
        seen.extend(page.iter().map(|item| item.id));
        insert(&store, new_item(100 + n, "late.jpg")).await;
    }
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn folders_and_tags_select() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    for (n, folder, tag) in [
        (1, "a", "Red"),
        (2, "a/b", "red"),
        (3, "ab", "blue"),
        (4, "", "red"),
    ] {
        let item = NewMediaItem {
            folder: folder.into(),
            tags: vec![tag.into()],
            ..new_item(n, "x.jpg")
        };
        insert(&store, item).await;
    }
    let count = async |folder: &str, tags: &[&str]| {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let query = ListQuery {
            folder: folder.into(),
            tags,
            ..ListQuery::default()
        };
        store.count_items(TENANT, &query).await.unwrap()
    };
    assert_eq!(count("a", &[]).await, 2);
    assert_eq!(count("", &["RED"]).await, 3);
    assert_eq!(count("a", &["red", "blue"]).await, 0);
    let folders = store.list_folders(TENANT, Some("a"), 10).await.unwrap();
    assert_eq!(
        folders.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(),
        ["a/b", "ab"]
    );
}

#[tokio::test]
async fn stale_etag_is_refused_and_changes_nothing() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let item = insert(&store, new_item(1, "a.jpg")).await;
    let patch = |name: &str| ItemPatch {
        display_name: Some(name.into()),
        ..ItemPatch::default()
    };
    let changed = store
        .update_item(TENANT, item.id, Some(1), patch("b.jpg"), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (changed.version, changed.display_name.as_str()),
        (2, "b.jpg")
    );
    let stale = store
        .update_item(TENANT, item.id, Some(1), patch("c.jpg"), None)
        .await;
    assert!(matches!(stale, Err(Error::EtagMismatch { current: 2 })));
    assert!(
        store
            .update_item(STRANGER, item.id, None, patch("d.jpg"), None)
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        store.get_items(TENANT, &[item.id]).await.unwrap()[0].display_name,
        "b.jpg"
    );
}

#[tokio::test]
async fn finished_item_holds_what_was_found_and_delete_frees_it_all() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let item = insert(&store, new_item(1, "a.jpg")).await;
    let rendition = Rendition {
        name: "main".into(),
        content_type: "image/jpeg".into(),
        width_pixels: 40,
        height_pixels: 30,
        size_bytes: 9,
        sha256: [7; 32],
        blob_key: "renditions/x".into(),
    };
    let found = Processed {
        renditions: vec![rendition.clone()],
        ..processed(400, 300)
    };
    finish(&store, &item, found).await;
    let ready = &store.get_items(TENANT, &[item.id]).await.unwrap()[0];
    assert_eq!(ready.state, State::Ready);
    assert_eq!(ready.perceptual_hash, Some(u64::MAX));
    assert_eq!(
        store.get_renditions(TENANT, &[item.id]).await.unwrap(),
        vec![(item.id, rendition)]
    );

    let mut freed = store
        .delete_item(TENANT, item.id, None)
        .await
        .unwrap()
        .unwrap();
    freed.sort();
    assert_eq!(freed, [item.blob_key.clone(), "renditions/x".to_owned()]);
    assert!(
        store
            .get_items(TENANT, &[item.id])
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        store.unreferenced_blobs(freed.clone()).await.unwrap(),
        freed
    );
}
