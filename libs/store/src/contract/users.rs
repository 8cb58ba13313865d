use super::*;
use crate::{JobStore as _, SearchStore as _, media::ListQuery};

fn uploaded(n: u8, uploader: Option<&str>) -> NewMediaItem {
    NewMediaItem {
        uploader: uploader.map(str::to_owned),
        ..new_item(n, &format!("{n}.jpg"))
    }
}

#[tokio::test]
async fn a_user_has_what_it_put_in_and_nobody_else_s() {
    use crate::{
        KeyStore as _,
        key::{KeyScope, NewApiKey},
    };
    let Some((_guard, store)) = store().await else {
        return;
    };
    let key = NewApiKey {
        id: mediamesh_proto::ApiKeyId::generate(),
        tenant_id: TENANT,
        display_name: "importer".to_owned(),
        scopes: vec![KeyScope::Write],
        secret_sha256: [7; 32],
        expire_time: None,
    };
    let user = format!("key:{}", key.id);
    store.insert_key(key).await.unwrap();
    let none = store.user_stats(TENANT, &user).await.unwrap();
    assert_eq!((none.total_files, none.total_bytes), (0, 0));
    assert_eq!(none.key_name.as_deref(), Some("importer"));
    assert_eq!(none.last_upload_time, None);

    let first = insert(&store, uploaded(10, Some(&user))).await;
    assert_eq!(first.uploader.as_deref(), Some(user.as_str()));
    insert(&store, uploaded(20, Some(&user))).await;
    insert(&store, uploaded(30, Some("somebody"))).await;
    let old = insert(&store, uploaded(40, None)).await;
    assert_eq!(old.uploader, None);
    let theirs = NewMediaItem {
        tenant_id: STRANGER,
        ..uploaded(50, Some(&user))
    };
    let job = NewJob {
        tenant_id: STRANGER,
        ..job(Some(theirs.id))
    };
    store.insert_item(theirs, job).await.unwrap();

    let stats = store.user_stats(TENANT, &user).await.unwrap();
    assert_eq!((stats.total_files, stats.total_bytes), (2, 30));
    assert_eq!(stats.first_upload_time, Some(first.create_time));
    assert!(stats.last_upload_time >= stats.first_upload_time);
    let theirs = store.user_stats(STRANGER, &user).await.unwrap();
    assert_eq!((theirs.total_files, theirs.total_bytes), (1, 50));
    assert_eq!(theirs.key_name, None, "the key is another tenant's");
    let nobody = store.user_stats(TENANT, "nobody").await.unwrap();
    assert_eq!(nobody, crate::media::UserStats::default());

    let query = ListQuery {
        uploader: Some(user.clone()),
        limit: 10,
        ..ListQuery::default()
    };
    assert_eq!(store.list_items(TENANT, &query).await.unwrap().len(), 2);
    assert_eq!(store.count_items(TENANT, &query).await.unwrap(), 2);

    store.delete_item(TENANT, first.id, None).await.unwrap();
    let stats = store.user_stats(TENANT, &user).await.unwrap();
    assert_eq!((stats.total_files, stats.total_bytes), (1, 20));
}

#[tokio::test]
async fn what_was_derived_is_told_of_each_item_in_order() {
    let Some((_guard, store)) = store().await else {
        return;
    };
    assert_eq!(store.derived(TENANT, &[]).await.unwrap(), Vec::new());
    let [first, second] = [
        insert(&store, new_item(1, "a.jpg")).await,
        insert(&store, new_item(2, "b.jpg")).await,
    ];
    let vectors = |models: &[&str]| -> Vec<(String, Vec<u8>)> {
        let vector = |model: &&str| ((*model).to_owned(), vec![0, 0x3c, 0, 0]);
        models.iter().map(vector).collect()
    };
    let seq = store.put_embeddings(TENANT, first.id, vectors(&["a", "b"]));
    let seq = seq.await.unwrap();
    assert!(seq > Some(0));
    // of two vectors of one model the later one counts, and none takes it out
    let later = vec![
        ("b".to_owned(), vec![0, 0x3c, 0, 0]),
        ("b".to_owned(), Vec::new()),
    ];
    let removed = store.put_embeddings(TENANT, first.id, later).await.unwrap();
    assert!(removed > seq, "{removed:?} {seq:?}");
    let lease = finish(&store, &second, processed(10, 10)).await;
    store.complete(&lease).await.unwrap();

    let all = [second.clone(), first.clone(), second.clone()];
    let derived = store.derived(TENANT, &all).await.unwrap();
    assert_eq!(derived.len(), 3);
    assert_eq!(derived[0], derived[2]);
    let models: Vec<&str> = derived[1]
        .embeddings
        .iter()
        .map(|(model, _)| model.as_str())
        .collect();
    assert_eq!(models, ["a"]);
    assert_eq!(derived[0].embeddings, Vec::new());
    let jobs = &derived[0].jobs;
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!((jobs[0].kind, jobs[0].state, jobs[0].count), (1, 3, 1));
    assert!(jobs[0].last_end_time.is_some());
    let theirs = store.derived(STRANGER, &all).await.unwrap();
    assert!(
        theirs
            .iter()
            .all(|derived| *derived == crate::media::Derived::default())
    );
}
