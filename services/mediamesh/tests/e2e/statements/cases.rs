//! One case per method that asks the store: about few rows, and about many.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mediamesh_testkit::fixture;
use serde_json::{Value, json};

/// Rows that a call about few is about.
pub(super) const FEW: usize = 5;
/// Rows that a call about many is about.
pub(super) const MANY: usize = 50;

/// What a method is called with.
pub(super) enum Rows {
    /// Messages of calls about one thing, about few rows and about many.
    Any {
        warm: Vec<Value>,
        few: Vec<Value>,
        many: Vec<Value>,
    },
    /// Not counted, for a reason that stands beside it.
    NotCounted,
}

/// How many statements are allowed.
pub(super) enum Count {
    /// As many for many rows as for few.
    Same,
    /// One more: the first rows are read on their own because somebody waits for them.
    OneMore,
}

pub(super) struct Case {
    pub(super) rows: Rows,
    pub(super) count: Count,
    /// Other cases need what it removes.
    pub(super) removes: bool,
}

impl Case {
    fn removes(mut self) -> Self {
        self.removes = true;
        self
    }

    fn one_more(mut self) -> Self {
        self.count = Count::OneMore;
        self
    }
}

fn messages(warm: Vec<Value>, few: Vec<Value>, many: Vec<Value>) -> Case {
    Case {
        rows: Rows::Any { warm, few, many },
        count: Count::Same,
        removes: false,
    }
}

fn each(warm: Value, few: Value, many: Value) -> Case {
    messages(vec![warm], vec![few], vec![many])
}

fn pair(few: Value, many: Value) -> Case {
    each(few.clone(), few, many)
}

/// Calls that are about one thing whatever it is: three of them.
fn things(of: impl Fn(usize) -> Value) -> Case {
    each(of(0), of(1), of(2))
}

fn not_counted() -> Case {
    Case {
        rows: Rows::NotCounted,
        count: Count::Same,
        removes: false,
    }
}

fn pages() -> Case {
    pair(json!({"pageSize": FEW}), json!({"pageSize": MANY}))
}

fn tags(count: usize) -> Value {
    (0..count).map(|n| json!(format!("tag{n}"))).collect()
}

fn upload(seed: u32, count: usize) -> Vec<Value> {
    let picture = STANDARD.encode(fixture::jpeg(seed, 32, 24));
    let metadata = json!({"displayName": "up.jpg", "tags": tags(count)});
    vec![json!({"metadata": metadata}), json!({"chunk": picture})]
}

fn by_image(folder: &str) -> Vec<Value> {
    let picture = STANDARD.encode(fixture::jpeg(1, 32, 24));
    vec![
        json!({"search": search(folder, "")}),
        json!({"chunk": picture}),
    ]
}

fn logged(count: usize) -> Value {
    let request = |n| json!({"id": format!("0190a5a5-0000-7000-8000-{n:012}"), "method": "GET", "route": format!("/{n}")});
    let requests: Vec<Value> = (0..count).map(request).collect();
    json!({ "requests": requests })
}

/// Steps that each need the one before.
fn tree(item: &str, count: usize) -> Value {
    let step = |n: usize| {
        let needs: Vec<String> = (n > 0).then(|| format!("{}", n - 1)).into_iter().collect();
        json!({"name": format!("{n}"), "kind": "KIND_PROCESS_MEDIA", "mediaItemId": item, "needs": needs})
    };
    let steps: Vec<Value> = (0..count).map(step).collect();
    json!({ "steps": steps })
}

fn search(folder: &str, query: &str) -> Value {
    json!({
        "query": query, "filter": {"folder": folder}, "limit": 100, "minScore": 0.0, "private": true,
    })
}

fn searches() -> [Value; 3] {
    ["broken", "few", "many"].map(|folder| search(folder, "picture"))
}

pub(super) fn cases(
    items: &[String],
    jobs: &Value,
    [key, other_key]: &[String; 2],
) -> HashMap<&'static str, Case> {
    let all_jobs = jobs.as_array().unwrap();
    let failed = |place: usize| -> &Value {
        let mut failed = all_jobs.iter().filter(|job| job["state"] == "STATE_FAILED");
        &failed.nth(place).unwrap()["id"]
    };
    let done = |place: usize| -> &Value {
        let mut done = all_jobs
            .iter()
            .filter(|job| job["state"] == "STATE_SUCCEEDED");
        &done.nth(place).unwrap()["id"]
    };
    let [warm, few, many] = searches();
    let streamed = |search: Value| json!({ "search": search });
    let update = |place: usize, count: usize| json!({"mediaItem": {"id": items[place], "caption": "new", "tags": tags(count)}});
    let vectors = |place: usize, models: usize| {
        let model = |n| json!({"model": format!("test-{n}"), "values": [1.0, 0.5]});
        let embeddings: Vec<Value> = (0..models).map(model).collect();
        json!({"mediaItemId": items[place], "embeddings": embeddings})
    };
    HashMap::from([
        // === media items ===
        (
            "/mediamesh.media.v1.MediaService/UploadMedia",
            messages(upload(500, 1), upload(501, 1), upload(502, 60)),
        ),
        (
            "/mediamesh.media.v1.MediaService/GetMediaItem",
            things(|place| json!({"mediaItemId": items[place]})),
        ),
        (
            "/mediamesh.media.v1.MediaService/BatchGetMediaItems",
            pair(
                json!({"mediaItemIds": items[..FEW], "withProcessing": true}),
                json!({"mediaItemIds": items[FEW..], "withProcessing": true}),
            ),
        ),
        ("/mediamesh.media.v1.MediaService/ListMediaItems", pages()),
        ("/mediamesh.media.v1.MediaService/ListFolders", pages()),
        (
            "/mediamesh.media.v1.MediaService/UpdateMediaItem",
            each(update(0, 1), update(1, 1), update(2, 60)),
        ),
        (
            // the last has more tags and vectors than the others
            "/mediamesh.media.v1.MediaService/DeleteMediaItem",
            each(
                json!({"mediaItemId": items[10]}),
                json!({"mediaItemId": items[1]}),
                json!({"mediaItemId": items[2]}),
            )
            .removes(),
        ),
        (
            "/mediamesh.media.v1.MediaService/ReprocessMediaItem",
            things(|place| json!({"mediaItemId": items[place]})),
        ),
        (
            "/mediamesh.media.v1.MediaService/DownloadMedia",
            things(|place| json!({"mediaItemId": items[place]})),
        ),
        // === jobs ===
        (
            "/mediamesh.media.v1.JobService/CreateJob",
            things(|place| json!({"kind": "KIND_PROCESS_MEDIA", "mediaItemId": items[20 + place]})),
        ),
        (
            "/mediamesh.media.v1.JobService/GetJob",
            things(|place| json!({"jobId": done(place)})),
        ),
        ("/mediamesh.media.v1.JobService/ListJobs", pages()),
        (
            "/mediamesh.media.v1.JobService/GetQueueStats",
            things(|_| json!({})),
        ),
        (
            // looks again and again for as long as the job works
            "/mediamesh.media.v1.JobService/WatchJob",
            things(|place| json!({"jobId": done(place)})),
        ),
        (
            // of those that `RetryJob` has queued
            "/mediamesh.media.v1.JobService/CancelJob",
            things(|place| json!({"jobId": failed(place)})).removes(),
        ),
        (
            "/mediamesh.media.v1.JobService/RetryJob",
            things(|place| json!({"jobId": failed(place)})),
        ),
        (
            "/mediamesh.media.v1.JobService/RetryFailedJobs",
            each(
                json!({"maxCount": 1}),
                json!({"maxCount": FEW}),
                json!({"maxCount": MANY}),
            )
            .removes(),
        ),
        (
            "/mediamesh.media.v1.JobService/CreateJobTree",
            each(
                tree(&items[30], FEW),
                tree(&items[31], FEW),
                tree(&items[32], MANY),
            ),
        ),
        (
            "/mediamesh.media.v1.JobService/GetJobTree",
            things(|place| json!({"jobTreeId": done(place)})),
        ),
        (
            "/mediamesh.media.v1.JobService/ListSchedules",
            things(|_| json!({})),
        ),
        (
            "/mediamesh.media.v1.JobService/PauseQueue",
            things(|_| json!({"kind": "KIND_DELETE_BLOBS"})),
        ),
        (
            "/mediamesh.media.v1.JobService/ResumeQueue",
            things(|_| json!({"kind": "KIND_DELETE_BLOBS"})),
        ),
        // === API keys ===
        (
            "/mediamesh.media.v1.ApiKeyService/CreateApiKey",
            things(|_| json!({"apiKey": {"displayName": "one more", "scopes": ["SCOPE_READ"]}})),
        ),
        ("/mediamesh.media.v1.ApiKeyService/ListApiKeys", pages()),
        // by one id, as the store's own tests show; their ids are not known here
        ("/mediamesh.media.v1.ApiKeyService/GetApiKey", not_counted()),
        (
            "/mediamesh.media.v1.ApiKeyService/RevokeApiKey",
            not_counted(),
        ),
        (
            "/mediamesh.media.v1.ApiKeyService/ResolveApiKey",
            not_counted(),
        ),
        (
            "/mediamesh.media.v1.ApiKeyService/CheckApiKey",
            not_counted(),
        ),
        // === users ===
        (
            // the cache answers from the second call on: whoever is warm is asked for once
            "/mediamesh.media.v1.UserService/GetUser",
            each(
                json!({"userId": "me"}),
                json!({"userId": key}),
                json!({"userId": other_key}),
            ),
        ),
        // === the log of requests ===
        (
            "/mediamesh.media.v1.RequestLogService/AppendRequests",
            each(logged(1), logged(FEW), logged(MANY)),
        ),
        (
            "/mediamesh.media.v1.RequestLogService/SummarizeRequests",
            things(|_| json!({"allTenants": true})),
        ),
        // === addresses for one file ===
        (
            "/mediamesh.media.v1.PresignService/CreateDownloadUrl",
            things(|place| json!({"mediaItemId": items[place]})),
        ),
        // these ask the storage; completing is an upload
        (
            "/mediamesh.media.v1.PresignService/CreateUploadUrl",
            not_counted(),
        ),
        (
            "/mediamesh.media.v1.PresignService/CompleteUpload",
            not_counted(),
        ),
        (
            "/mediamesh.media.v1.PresignService/PutUpload",
            not_counted(),
        ),
        (
            "/mediamesh.media.v1.PresignService/ResolveDownloadUrl",
            not_counted(),
        ),
        // === search ===
        (
            "/mediamesh.search.v1.SearchService/SearchMedia",
            each(warm.clone(), few.clone(), many.clone()),
        ),
        (
            "/mediamesh.search.v1.SearchService/StreamSearchMedia",
            each(streamed(warm), streamed(few), streamed(many)).one_more(),
        ),
        (
            "/mediamesh.search.v1.SearchService/SearchByImage",
            messages(by_image("broken"), by_image("few"), by_image("many")),
        ),
        (
            "/mediamesh.search.v1.SearchService/IndexMedia",
            each(vectors(0, 1), vectors(1, 1), vectors(2, 1)),
        ),
        (
            // popularity is the cache's
            "/mediamesh.search.v1.SearchService/ListPopularSearches",
            not_counted(),
        ),
        (
            "/mediamesh.search.v1.SearchService/ListSearchHistory",
            pages(),
        ),
        (
            "/mediamesh.search.v1.SearchService/DeleteSearchHistory",
            each(
                json!({"query": "sought 0"}),
                json!({"query": "sought 1"}),
                json!({}),
            )
            .removes(),
        ),
        (
            "/mediamesh.search.v1.SearchService/SuggestSearches",
            each(
                json!({"prefix": "sou", "limit": 1}),
                json!({"prefix": "sou", "limit": FEW}),
                json!({"prefix": "sou", "limit": MANY}),
            ),
        ),
        (
            // makes as many searches as it is told to
            "/mediamesh.search.v1.SearchService/WarmSearches",
            not_counted(),
        ),
        (
            "/mediamesh.search.v1.SearchService/GetIndexStats",
            things(|_| json!({})),
        ),
    ])
}
