//! Reading, listing, changing and removing items.

use mediamesh_media::Options;
use mediamesh_proto::{
    ErrorReason,
    media::v1::{
        BatchGetMediaItemsRequest, CreateJobRequest, DeleteMediaItemRequest, GetJobRequest,
        ListFoldersRequest, ListJobsRequest, ListMediaItemsRequest, MediaItem,
        ReprocessMediaItemRequest, UpdateMediaItemRequest, UploadMediaMetadata, job,
    },
    pbjson_types::FieldMask,
};

use crate::rig::{Rig, photo, quick, refused};

/// Valid JPEGs that differ: bytes after the end of the picture are no part of it.
async fn upload_many(rig: &Rig, folder: &str, count: u8, first: u8) -> Vec<String> {
    let mut ids = Vec::new();
    for index in first..first + count {
        let mut data = photo("orientation_1.jpg");
        data.push(index);
        let metadata = UploadMediaMetadata {
            display_name: format!("{index}.jpg"),
            folder: folder.to_owned(),
            ..UploadMediaMetadata::default()
        };
        ids.push(
            rig.upload_with(metadata, data)
                .await
                .unwrap()
                .media_item
                .unwrap()
                .id,
        );
    }
    ids
}

#[tokio::test]
async fn pages_neither_repeat_nor_skip_while_items_come_in() {
    let rig = Rig::new(Options::default()).await;
    let mut expected = upload_many(&rig, "a", 5, 0).await;
    expected.reverse();
    let mut request = ListMediaItemsRequest {
        page_size: 2,
        folder: "a".to_owned(),
        ..ListMediaItemsRequest::default()
    };
    let mut seen = Vec::new();
    let mut added = 100;
    loop {
        let page = rig
            .media
            .clone()
            .list_media_items(request.clone())
            .await
            .unwrap()
            .into_inner();
        assert_eq!(page.total_size, 5, "counted for the first page");
        seen.extend(page.media_items.into_iter().map(|item| item.id));
        if page.next_page_token.is_empty() {
            break;
        }
        upload_many(&rig, "a", 1, added).await;
        added += 1;
        request.page_token = page.next_page_token;
    }
    assert_eq!(seen, expected);
    request.folder = "b".to_owned();
    refused(
        rig.media.clone().list_media_items(request).await,
        ErrorReason::InvalidPageToken,
    );
    let negative = ListMediaItemsRequest {
        page_size: -1,
        ..ListMediaItemsRequest::default()
    };
    refused(
        rig.media.clone().list_media_items(negative).await,
        ErrorReason::InvalidField,
    );
}

#[tokio::test]
async fn folders_are_counted_and_paged() {
    let rig = Rig::new(Options::default()).await;
    upload_many(&rig, "b", 2, 0).await;
    upload_many(&rig, "a/c", 1, 10).await;
    upload_many(&rig, "", 1, 20).await;
    let mut found = Vec::new();
    let mut request = ListFoldersRequest {
        page_size: 1,
        ..ListFoldersRequest::default()
    };
    loop {
        let page = rig
            .media
            .clone()
            .list_folders(request.clone())
            .await
            .unwrap()
            .into_inner();
        found.extend(
            page.folders
                .into_iter()
                .map(|folder| (folder.path, folder.media_item_count)),
        );
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(
        found,
        [
            (String::new(), 1),
            ("a/c".to_owned(), 1),
            ("b".to_owned(), 2)
        ]
    );
}

#[tokio::test]
async fn a_batch_answers_what_exists_in_the_order_asked() {
    let rig = Rig::new(Options::default()).await;
    let ids = upload_many(&rig, "", 2, 0).await;
    let unknown = "0190a5a5-0000-7000-8000-000000000000".to_owned();
    let request = BatchGetMediaItemsRequest {
        media_item_ids: vec![ids[1].clone(), unknown.clone(), ids[0].clone()],
        with_processing: false,
    };
    let found = rig
        .media
        .clone()
        .batch_get_media_items(request)
        .await
        .unwrap()
        .into_inner()
        .media_items;
    assert_eq!(
        found.into_iter().map(|item| item.id).collect::<Vec<_>>(),
        [ids[1].clone(), ids[0].clone()]
    );
    let bad = BatchGetMediaItemsRequest {
        media_item_ids: vec!["x".to_owned()],
        with_processing: false,
    };
    refused(
        rig.media.clone().batch_get_media_items(bad).await,
        ErrorReason::InvalidField,
    );
    refused(rig.get(&unknown).await, ErrorReason::MediaItemNotFound);
}

#[tokio::test]
async fn an_update_changes_what_the_mask_says_and_guards_against_lost_updates() {
    let rig = Rig::new(Options::default()).await;
    let id = upload_many(&rig, "a", 1, 0).await.remove(0);
    let before = rig.get(&id).await.unwrap();
    let change = |etag: &str, paths: &[&str]| UpdateMediaItemRequest {
        media_item: Some(MediaItem {
            id: id.clone(),
            etag: etag.to_owned(),
            caption: "new".to_owned(),
            ..MediaItem::default()
        }),
        update_mask: Some(FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        }),
    };
    let mut media = rig.media.clone();
    let request = change(&before.etag, &["caption", "folder"]);
    let after = media
        .update_media_item(request)
        .await
        .unwrap()
        .into_inner()
        .media_item
        .unwrap();
    assert_eq!(
        (after.caption.as_str(), after.folder.as_str()),
        ("new", ""),
        "a masked empty field is cleared"
    );
    assert_eq!(after.display_name, before.display_name);
    assert_ne!(after.etag, before.etag);
    refused(
        media
            .update_media_item(change(&before.etag, &["caption"]))
            .await,
        ErrorReason::EtagMismatch,
    );
    refused(
        media.update_media_item(change("", &["sha256"])).await,
        ErrorReason::InvalidField,
    );
    refused(
        media.update_media_item(change("", &["display_name"])).await,
        ErrorReason::InvalidField,
    );
    let unmasked = media
        .update_media_item(change("", &[]))
        .await
        .unwrap()
        .into_inner()
        .media_item
        .unwrap();
    assert_eq!(unmasked.display_name, before.display_name);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_an_item_frees_its_bytes() {
    let rig = Rig::working(quick()).await;
    let id = rig
        .upload("cat.jpg", photo("cat.jpg"))
        .await
        .unwrap()
        .media_item
        .unwrap()
        .id;
    let item = rig.settled(&id).await;
    assert!(rig.objects().await.len() > 3, "original and renditions");
    let delete = |etag: &str| DeleteMediaItemRequest {
        media_item_id: id.clone(),
        etag: etag.to_owned(),
    };
    refused(
        rig.media.clone().delete_media_item(delete("999")).await,
        ErrorReason::EtagMismatch,
    );
    rig.media
        .clone()
        .delete_media_item(delete(&item.etag))
        .await
        .unwrap();
    refused(rig.get(&id).await, ErrorReason::MediaItemNotFound);
    refused(
        rig.media.clone().delete_media_item(delete("")).await,
        ErrorReason::MediaItemNotFound,
    );
    rig.until("bytes are removed", async || rig.objects().await.is_empty())
        .await;
}

#[tokio::test]
async fn the_same_job_waits_once_and_jobs_are_paged() {
    let rig = Rig::new(Options::default()).await;
    let ids = upload_many(&rig, "", 3, 0).await;
    let again = ReprocessMediaItemRequest {
        media_item_id: ids[0].clone(),
    };
    let job_id = rig
        .media
        .clone()
        .reprocess_media_item(again)
        .await
        .unwrap()
        .into_inner()
        .job_id;
    let mut jobs = rig.jobs.clone();
    let created = CreateJobRequest {
        media_item_id: ids[0].clone(),
        ..CreateJobRequest::default()
    };
    let created = jobs.create_job(created).await.unwrap().into_inner();
    assert_eq!(created.job_id, job_id);
    let job = jobs
        .get_job(GetJobRequest { job_id })
        .await
        .unwrap()
        .into_inner()
        .job
        .unwrap();
    assert_eq!(
        (job.kind(), job.state()),
        (job::Kind::ProcessMedia, job::State::Queued)
    );
    let mut request = ListJobsRequest {
        page_size: 2,
        ..ListJobsRequest::default()
    };
    let first = jobs.list_jobs(request.clone()).await.unwrap().into_inner();
    request.page_token = first.next_page_token;
    let second = jobs.list_jobs(request).await.unwrap().into_inner();
    assert_eq!((first.jobs.len(), second.jobs.len()), (2, 1));

    let image = CreateJobRequest {
        prompt: "a cat".to_owned(),
        ..CreateJobRequest::default()
    };
    refused(
        jobs.create_job(image).await,
        ErrorReason::ProviderNotConfigured,
    );
    let unknown = GetJobRequest {
        job_id: "0190a5a5-0000-7000-8000-000000000000".to_owned(),
    };
    refused(jobs.get_job(unknown).await, ErrorReason::JobNotFound);
}
