use super::*;
use crate::{
    IntegrityStore as _,
    media::{Rendition, State},
};

const REASON: &str = "ERROR_REASON_DATA_CORRUPT";

#[tokio::test]
async fn stored_items_are_paged_over_all_tenants_with_what_was_derived() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let mut all = Vec::new();
    for n in 0..5 {
        let tenant_id = if n % 2 == 0 { TENANT } else { STRANGER };
        let item = NewMediaItem {
            tenant_id,
            ..new_item(n, "x.jpg")
        };
        all.push(insert(&store, item).await);
    }
    let names = ["main", "thumb_300"];
    let renditions = names.map(|name| Rendition {
        name: name.to_owned(),
        content_type: "image/jpeg".to_owned(),
        width_pixels: 40,
        height_pixels: 30,
        size_bytes: 9,
        sha256: [7; 32],
        blob_key: format!("renditions/{name}"),
    });
    let found = Processed {
        renditions: renditions.to_vec(),
        ..processed(400, 300)
    };
    finish(&store, &all[2], found).await;

    assert_eq!(store.count_stored_items().await.unwrap(), 5);
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let page = store.stored_items(after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.item_key;
        seen.extend(page);
    }
    let ids: Vec<_> = seen.iter().map(|item| (item.tenant_id, item.id)).collect();
    let expected: Vec<_> = all.iter().map(|item| (item.tenant_id, item.id)).collect();
    assert_eq!(ids, expected);
    for (seen, item) in seen.iter().zip(&all) {
        assert_eq!(seen.original.key, item.blob_key);
        assert_eq!(seen.original.size_bytes, item.size_bytes);
        assert_eq!(seen.original.sha256, item.sha256);
        assert_eq!(
            seen.renditions.len(),
            2 * usize::from(seen.id == all[2].id),
            "{seen:?}"
        );
    }
    assert_eq!(seen[2].renditions[0].0, "main");
    assert_eq!(seen[2].renditions[0].1.key, "renditions/main");
    let one = store.stored_item(TENANT, all[2].id).await.unwrap();
    assert_eq!(one.as_ref(), Some(&seen[2]));
    let strange = store.stored_item(STRANGER, all[2].id).await.unwrap();
    assert_eq!(strange, None);
}

#[tokio::test]
async fn a_damaged_item_is_marked_once_and_not_while_it_is_processed() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let item = insert(&store, new_item(1, "x.jpg")).await;
    let mark = async |tenant| {
        let why = "the stored original is missing";
        let marked = store.mark_damaged(tenant, item.id, REASON, why).await;
        marked.unwrap()
    };
    assert!(!mark(TENANT).await, "its job will tell");
    finish(&store, &item, processed(400, 300)).await;
    assert!(!mark(STRANGER).await, "not theirs");
    assert!(mark(TENANT).await);
    assert!(!mark(TENANT).await, "it is marked");
    let stored = store.stored_item(TENANT, item.id).await.unwrap().unwrap();
    assert_eq!(stored.state, State::Failed);
    assert_eq!(stored.failure_reason, REASON);
}
