//! One case per method of the contract.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tonic::Code;

use super::Tenant;

/// What A's cache entry holds.
pub(super) const CACHED_VALUE: &str = "alphacached";
/// What A has searched for.
pub(super) const SOUGHT: &str = "alphasought";
/// How A searches.
pub(super) const SEARCH: &str = "/mediamesh.search.v1.SearchService/SearchMedia";
/// How A sees what it searched for.
pub(super) const HISTORY: &str = "/mediamesh.search.v1.SearchService/ListSearchHistory";
/// Side of a picture to embed.
const PIXELS: usize = 4;

/// What a stranger gets.
#[derive(Debug)]
pub(super) enum Expect {
    /// There is no such thing.
    NotFound,
    /// An answer with nothing of A in it.
    Nothing,
    /// Refused for another reason, which is the same for everybody.
    Refused(Code),
}

/// How a method is called, with what belongs to A.
pub(super) struct Case {
    /// Messages of the request stream; one for unary methods.
    pub(super) requests: Vec<Value>,
    pub(super) expect: Expect,
    /// A itself gets an answer, with something of A in it unless a stranger gets NOT_FOUND.
    pub(super) shows: bool,
    /// A's own call ends what other cases need.
    pub(super) destroys: bool,
    /// The stranger has the bytes of A's picture as well, so their hash tells it nothing.
    pub(super) has_bytes: bool,
}

fn case(request: Value, expect: Expect) -> Case {
    Case {
        requests: vec![request],
        expect,
        shows: true,
        destroys: false,
        has_bytes: false,
    }
}

impl Case {
    /// The method holds nobody's data, or only numbers.
    fn of_nobody(mut self) -> Self {
        self.shows = false;
        self
    }

    fn destroys(mut self) -> Self {
        self.destroys = true;
        self
    }

    fn with_bytes(mut self, bytes: &str) -> Self {
        self.has_bytes = true;
        self.then(json!({"chunk": bytes}))
    }

    fn then(mut self, message: Value) -> Self {
        self.requests.push(message);
        self
    }
}

/// Puts A's value into the cache.
pub(super) fn entry() -> Value {
    json!({"entry": {"key": "k", "value": STANDARD.encode(CACHED_VALUE), "ttl": "60s",
        "tags": ["alphatag"]}})
}

/// Every method by path; `picture` is a file that A has stored.
pub(super) fn cases(a: &Tenant, picture: &[u8]) -> HashMap<&'static str, Case> {
    use Expect::{NotFound, Nothing, Refused};
    let item = a.item["id"].as_str().unwrap();
    // private: or it would be B's own search that B is shown
    let by_words = json!({"query": "alphacaption", "private": true});
    let bytes = STANDARD.encode(picture);
    let user = format!("key:{}", a.key_id);
    let pixels = STANDARD.encode([0_u8; PIXELS * PIXELS * 3]);
    HashMap::from([
        // === media items ===
        (
            // the same bytes are a new item, and it is not told who else has them
            "/mediamesh.media.v1.MediaService/UploadMedia",
            case(json!({"metadata": {"displayName": "mine.jpg"}}), Nothing)
                .with_bytes(&bytes)
                .of_nobody(),
        ),
        (
            "/mediamesh.media.v1.MediaService/GetMediaItem",
            case(json!({"mediaItemId": item}), NotFound),
        ),
        (
            "/mediamesh.media.v1.MediaService/BatchGetMediaItems",
            case(json!({"mediaItemIds": [item]}), Nothing),
        ),
        (
            // a token of A's list opens nothing for B
            "/mediamesh.media.v1.MediaService/ListMediaItems",
            case(
                json!({"order": "ORDER_OLDEST", "pageToken": a.list_token}),
                Refused(Code::InvalidArgument),
            ),
        ),
        (
            "/mediamesh.media.v1.MediaService/ListFolders",
            case(json!({}), Nothing),
        ),
        (
            "/mediamesh.media.v1.MediaService/UpdateMediaItem",
            case(
                json!({"mediaItem": {"id": item, "caption": "taken"}}),
                NotFound,
            ),
        ),
        (
            "/mediamesh.media.v1.MediaService/DeleteMediaItem",
            case(json!({"mediaItemId": item}), NotFound).destroys(),
        ),
        (
            "/mediamesh.media.v1.MediaService/ReprocessMediaItem",
            case(json!({"mediaItemId": item}), NotFound),
        ),
        (
            "/mediamesh.media.v1.MediaService/DownloadMedia",
            case(json!({"mediaItemId": item}), NotFound),
        ),
        // === jobs ===
        (
            "/mediamesh.media.v1.JobService/CreateJob",
            case(
                json!({"kind": "KIND_PROCESS_MEDIA", "mediaItemId": item}),
                NotFound,
            ),
        ),
        (
            "/mediamesh.media.v1.JobService/GetJob",
            case(json!({"jobId": a.job_id}), NotFound),
        ),
        (
            "/mediamesh.media.v1.JobService/ListJobs",
            case(
                json!({"pageToken": a.jobs_token}),
                Refused(Code::InvalidArgument),
            ),
        ),
        (
            "/mediamesh.media.v1.JobService/GetQueueStats",
            case(json!({}), Nothing).of_nobody(),
        ),
        (
            "/mediamesh.media.v1.JobService/CreateJobTree",
            case(
                json!({"steps": [{"name": "again", "mediaItemId": item}]}),
                NotFound,
            )
            .of_nobody(),
        ),
        (
            "/mediamesh.media.v1.JobService/GetJobTree",
            case(json!({"jobTreeId": a.job_id}), NotFound),
        ),
        (
            "/mediamesh.media.v1.JobService/ListSchedules",
            case(json!({}), Nothing).of_nobody(),
        ),
        (
            "/mediamesh.media.v1.JobService/WatchJob",
            case(json!({"jobId": a.job_id}), NotFound),
        ),
        (
            // it has ended, so that A itself is refused, for its state
            "/mediamesh.media.v1.JobService/CancelJob",
            case(json!({"jobId": a.job_id}), NotFound).of_nobody(),
        ),
        (
            "/mediamesh.media.v1.JobService/RetryJob",
            case(json!({"jobId": a.job_id}), NotFound).of_nobody(),
        ),
        (
            "/mediamesh.media.v1.JobService/RetryFailedJobs",
            case(json!({}), Nothing).of_nobody(),
        ),
        (
            // pauses the queue of B, and of nobody else
            "/mediamesh.media.v1.JobService/PauseQueue",
            case(json!({"kind": "KIND_DELETE_BLOBS"}), Nothing).of_nobody(),
        ),
        (
            "/mediamesh.media.v1.JobService/ResumeQueue",
            case(json!({"kind": "KIND_DELETE_BLOBS"}), Nothing).of_nobody(),
        ),
        // === API keys ===
        (
            "/mediamesh.media.v1.ApiKeyService/CreateApiKey",
            case(
                json!({"apiKey": {"displayName": "theirs", "scopes": ["SCOPE_READ"]}}),
                Nothing,
            )
            .of_nobody(),
        ),
        (
            "/mediamesh.media.v1.ApiKeyService/ListApiKeys",
            case(json!({}), Nothing),
        ),
        (
            "/mediamesh.media.v1.ApiKeyService/GetApiKey",
            case(json!({"apiKeyId": a.key_id}), NotFound),
        ),
        (
            "/mediamesh.media.v1.ApiKeyService/RevokeApiKey",
            case(json!({"apiKeyId": a.key_id}), NotFound).destroys(),
        ),
        (
            // tells a service whose key it is; without the secret nobody learns it
            "/mediamesh.media.v1.ApiKeyService/ResolveApiKey",
            case(
                json!({"apiKeyId": a.key_id, "secretSha256": STANDARD.encode([0; 32])}),
                Refused(Code::Unauthenticated),
            )
            .of_nobody(),
        ),
        (
            // by its id alone: told to processes only
            "/mediamesh.media.v1.ApiKeyService/CheckApiKey",
            case(
                json!({"apiKeyId": a.key_id}),
                Refused(Code::PermissionDenied),
            )
            .of_nobody(),
        ),
        // === users ===
        (
            // the user of this name has nothing in B's tenant, and its key is another tenant's
            "/mediamesh.media.v1.UserService/GetUser",
            case(json!({"userId": user}), NotFound),
        ),
        // === the log of requests ===
        (
            // told to it by edges, in the name of their process
            "/mediamesh.media.v1.RequestLogService/AppendRequests",
            case(json!({}), Refused(Code::PermissionDenied)).of_nobody(),
        ),
        (
            "/mediamesh.media.v1.RequestLogService/SummarizeRequests",
            case(json!({"allTenants": true}), Refused(Code::PermissionDenied)).of_nobody(),
        ),
        // === addresses for one file ===
        (
            // an address of B's own
            "/mediamesh.media.v1.PresignService/CreateUploadUrl",
            case(json!({"displayName": "x.jpg", "sizeBytes": "5"}), Nothing).of_nobody(),
        ),
        (
            "/mediamesh.media.v1.PresignService/CompleteUpload",
            case(
                json!({"uploadToken": a.list_token}),
                Refused(Code::PermissionDenied),
            )
            .of_nobody(),
        ),
        (
            "/mediamesh.media.v1.PresignService/CreateDownloadUrl",
            case(json!({"mediaItemId": item}), NotFound),
        ),
        (
            // opened by edges, in the name of their process
            "/mediamesh.media.v1.PresignService/PutUpload",
            case(
                json!({"head": {"token": "x"}}),
                Refused(Code::PermissionDenied),
            )
            .of_nobody(),
        ),
        (
            "/mediamesh.media.v1.PresignService/ResolveDownloadUrl",
            case(json!({"token": "x"}), Refused(Code::PermissionDenied)).of_nobody(),
        ),
        // === sessions ===
        (
            // needs an API key, which the callers of this test have not
            "/mediamesh.cache.v1.SessionService/CreateSession",
            case(json!({}), Refused(Code::PermissionDenied)).of_nobody(),
        ),
        (
            // with the very id
            "/mediamesh.cache.v1.SessionService/GetSession",
            case(json!({"sessionId": a.session_id}), NotFound),
        ),
        (
            "/mediamesh.cache.v1.SessionService/UpdateSession",
            case(
                json!({"session": {"handle": a.session_handle, "subscriptionTier": "stolen"}}),
                NotFound,
            ),
        ),
        (
            "/mediamesh.cache.v1.SessionService/DeleteSession",
            case(json!({"handle": a.session_handle}), NotFound).destroys(),
        ),
        (
            "/mediamesh.cache.v1.SessionService/ListSessions",
            case(
                json!({"userId": user, "pageToken": a.sessions_token}),
                Refused(Code::InvalidArgument),
            ),
        ),
        (
            // the user of this name in B's tenant has none
            "/mediamesh.cache.v1.SessionService/RevokeSessions",
            case(json!({"userId": user}), Nothing)
                .of_nobody()
                .destroys(),
        ),
        (
            "/mediamesh.cache.v1.SessionService/SweepSessions",
            case(json!({}), Nothing).of_nobody(),
        ),
        (
            // tells a service whose session it is; without the id nobody learns it
            "/mediamesh.cache.v1.SessionService/ResolveSession",
            case(
                json!({"sessionSha256": STANDARD.encode([0; 32])}),
                Refused(Code::Unauthenticated),
            )
            .of_nobody(),
        ),
        // === search ===
        (SEARCH, case(by_words.clone(), Nothing)),
        (
            "/mediamesh.search.v1.SearchService/StreamSearchMedia",
            case(
                json!({"search": {"examples": [{"mediaItemId": item}], "query": "alphatag"}}),
                NotFound,
            ),
        ),
        (
            // the very picture that A has
            "/mediamesh.search.v1.SearchService/SearchByImage",
            case(json!({"search": {}}), Nothing).with_bytes(&bytes),
        ),
        (
            "/mediamesh.search.v1.SearchService/IndexMedia",
            case(
                json!({"mediaItemId": item, "embeddings": [{"model": "stolen", "values": [1.0]}]}),
                NotFound,
            ),
        ),
        (
            "/mediamesh.search.v1.SearchService/ListPopularSearches",
            case(json!({}), Nothing),
        ),
        (HISTORY, case(json!({}), Nothing)),
        (
            "/mediamesh.search.v1.SearchService/DeleteSearchHistory",
            case(json!({}), Nothing).of_nobody().destroys(),
        ),
        (
            "/mediamesh.search.v1.SearchService/SuggestSearches",
            case(json!({"prefix": "alpha"}), Nothing),
        ),
        (
            "/mediamesh.search.v1.SearchService/WarmSearches",
            case(json!({}), Nothing).of_nobody(),
        ),
        (
            "/mediamesh.search.v1.SearchService/GetIndexStats",
            case(json!({}), Nothing).of_nobody(),
        ),
        // === embedding: from what is sent, and nothing stored ===
        (
            "/mediamesh.embedding.v1.EmbeddingService/EmbedTexts",
            case(json!({"texts": ["alpha"]}), Refused(Code::NotFound)).of_nobody(),
        ),
        (
            "/mediamesh.embedding.v1.EmbeddingService/EmbedImages",
            case(
                json!({"images": [{"pixels":
                    {"widthPixels": PIXELS, "heightPixels": PIXELS, "rgb": pixels}}]}),
                Nothing,
            )
            .of_nobody(),
        ),
        (
            "/mediamesh.embedding.v1.EmbeddingService/ListModels",
            case(json!({}), Nothing).of_nobody(),
        ),
        (
            "/mediamesh.embedding.v1.EmbeddingService/DescribeImage",
            case(
                json!({"mediaItemId": item}),
                Refused(Code::FailedPrecondition),
            )
            .of_nobody(),
        ),
        // === cache: the same key is another entry ===
        (
            "/mediamesh.cache.v1.CacheService/GetEntry",
            case(json!({"key": "k"}), Nothing),
        ),
        (
            "/mediamesh.cache.v1.CacheService/BatchGetEntries",
            case(json!({"keys": ["k"]}), Nothing),
        ),
        (
            "/mediamesh.cache.v1.CacheService/SetEntry",
            case(entry(), Nothing).of_nobody(),
        ),
        (
            "/mediamesh.cache.v1.CacheService/BatchSetEntries",
            case(json!({"entries": [entry()["entry"]]}), Nothing).of_nobody(),
        ),
        (
            "/mediamesh.cache.v1.CacheService/ReleaseLease",
            case(json!({"key": "k", "leaseToken": "1"}), Nothing).of_nobody(),
        ),
        (
            "/mediamesh.cache.v1.CacheService/InvalidateEntries",
            case(json!({"keyPrefix": "k"}), Nothing).of_nobody(),
        ),
        (
            "/mediamesh.cache.v1.CacheService/WatchInvalidations",
            case(json!({}), Refused(Code::PermissionDenied)).of_nobody(),
        ),
        (
            "/mediamesh.cache.v1.CacheService/CountSearches",
            case(
                json!({"searches": [{"wording": "theirs", "searcher": "1"}]}),
                Nothing,
            )
            .of_nobody(),
        ),
        (
            "/mediamesh.cache.v1.CacheService/ListPopularSearches",
            case(json!({}), Nothing),
        ),
        (
            "/mediamesh.cache.v1.CacheService/GetCacheStats",
            case(json!({}), Nothing).of_nobody(),
        ),
    ])
}
