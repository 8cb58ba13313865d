//! Pulling against a local server with the hub's layout: redirects, resume, wrong bytes, refusals.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::get;
use mediamesh_inference::models::{Progress, PullOptions};
use mediamesh_inference::{EngineOptions, Family, InstalledModel, ModelStore, ModelsError, load};
use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const WEIGHTS: &str = "model.safetensors";

/// What the server does wrong, and what it saw.
#[derive(Default)]
struct Behaviour {
    /// Answers of the storage that break off after this many bytes.
    cuts: Vec<usize>,
    corrupt: bool,
    ignore_ranges: bool,
    refuse: Option<u16>,
    /// `path range authorization` of each request.
    seen: Vec<String>,
}

struct Server {
    url: String,
    behaviour: Arc<Mutex<Behaviour>>,
}

#[derive(Clone)]
struct Shared {
    files: Arc<HashMap<String, Vec<u8>>>,
    behaviour: Arc<Mutex<Behaviour>>,
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

impl Server {
    async fn start() -> Self {
        let mut files = HashMap::new();
        for name in [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "preprocessor_config.json",
            WEIGHTS,
        ] {
            files.insert(
                name.to_owned(),
                std::fs::read(data().join("tiny-clip").join(name)).unwrap(),
            );
        }
        files.insert("README.md".to_owned(), b"not needed".to_vec());
        files.insert(
            "pytorch_model.bin".to_owned(),
            b"not needed either".to_vec(),
        );
        let behaviour = Arc::new(Mutex::new(Behaviour::default()));
        let shared = Shared {
            files: Arc::new(files),
            behaviour: Arc::clone(&behaviour),
        };
        let app = Router::new()
            .route(
                "/api/models/{owner}/{name}/revision/{revision}",
                get(repository),
            )
            .route("/{owner}/{name}/resolve/{commit}/{*file}", get(resolve))
            .route("/storage/{*file}", get(storage))
            .with_state(shared);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, behaviour }
    }

    fn options(&self) -> PullOptions {
        PullOptions {
            endpoint: Some(self.url.clone()),
            token: Some("secret".to_owned()),
            ..Default::default()
        }
    }

    fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    fn seen(&self, part: &str) -> Vec<String> {
        self.behaviour
            .lock()
            .unwrap()
            .seen
            .iter()
            .filter(|line| line.contains(part))
            .cloned()
            .collect()
    }

    async fn pull(&self, store: &ModelStore) -> Result<InstalledModel, ModelsError> {
        store.pull("acme/tiny-clip", &self.options(), |_| ()).await
    }
}

fn note(shared: &Shared, path: &str, headers: &HeaderMap) {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("-")
            .to_owned()
    };
    let line = format!("{path} {} {}", header("range"), header("authorization"));
    shared.behaviour.lock().unwrap().seen.push(line);
}

fn status(code: u16) -> Response<Body> {
    Response::builder()
        .status(code)
        .body(Body::empty())
        .unwrap()
}

async fn repository(
    State(shared): State<Shared>,
    UrlPath((owner, name, revision)): UrlPath<(String, String, String)>,
    headers: HeaderMap,
) -> Response<Body> {
    note(&shared, "api", &headers);
    if let Some(code) = shared.behaviour.lock().unwrap().refuse {
        return status(code);
    }
    if (owner.as_str(), name.as_str(), revision.as_str()) != ("acme", "tiny-clip", "main") {
        return status(404);
    }
    let siblings: Vec<_> = shared
        .files
        .iter()
        .map(|(name, content)| serde_json::json!({"rfilename": name, "size": content.len()}))
        .collect();
    let answer = serde_json::json!({"id": "acme/tiny-clip", "sha": COMMIT, "siblings": siblings});
    Response::new(Body::from(answer.to_string()))
}

/// Small files at once, weights by a redirect to another host name with their hash.
async fn resolve(
    State(shared): State<Shared>,
    UrlPath((_, _, commit, file)): UrlPath<(String, String, String, String)>,
    headers: HeaderMap,
) -> Response<Body> {
    note(&shared, &format!("resolve/{file}"), &headers);
    let Some(content) = shared.files.get(&file).filter(|_| commit == COMMIT) else {
        return status(404);
    };
    if file != WEIGHTS {
        return Response::new(Body::from(content.clone()));
    }
    let port = headers["host"]
        .to_str()
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap()
        .to_owned();
    Response::builder()
        .status(302)
        .header(
            "location",
            format!("http://localhost:{port}/storage/{file}"),
        )
        .header(
            "x-linked-etag",
            format!("\"{}\"", hex::encode(Sha256::digest(content))),
        )
        .header("x-linked-size", content.len())
        .body(Body::empty())
        .unwrap()
}

async fn storage(
    State(shared): State<Shared>,
    UrlPath(file): UrlPath<String>,
    headers: HeaderMap,
) -> Response<Body> {
    note(&shared, &format!("storage/{file}"), &headers);
    let mut content = shared.files[&file].clone();
    let mut behaviour = shared.behaviour.lock().unwrap();
    if behaviour.corrupt {
        content[1000] ^= 1;
    }
    let range = headers.get("range").filter(|_| !behaviour.ignore_ranges);
    let from = range.map_or(0, |range| {
        range
            .to_str()
            .unwrap()
            .strip_prefix("bytes=")
            .unwrap()
            .strip_suffix('-')
            .unwrap()
            .parse::<usize>()
            .unwrap()
    });
    if from >= content.len() {
        return status(416);
    }
    let total = content.len();
    let left = content.split_off(from);
    let (code, cut) = (
        if range.is_some() { 206 } else { 200 },
        behaviour.cuts.pop(),
    );
    let mut answer = Response::builder()
        .status(code)
        .header("content-length", left.len());
    if code == StatusCode::PARTIAL_CONTENT {
        answer = answer.header(
            "content-range",
            format!("bytes {from}-{}/{total}", total - 1),
        );
    }
    let body = match cut {
        Some(at) => {
            let chunks = [
                Ok(Bytes::copy_from_slice(&left[..at])),
                Err(std::io::Error::other("cut")),
            ];
            // The bytes must have left before the connection breaks.
            Body::from_stream(futures::StreamExt::then(
                futures::stream::iter(chunks),
                async |chunk| {
                    if chunk.is_err() {
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                    chunk
                },
            ))
        }
        None => Body::from(left),
    };
    answer.body(body).unwrap()
}

fn store() -> (tempfile::TempDir, ModelStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = ModelStore::open(dir.path().join("models")).unwrap();
    (dir, store)
}

fn parts(store: &ModelStore) -> Vec<PathBuf> {
    let staging = store
        .dir()
        .join(".pull")
        .join(format!("acme--tiny-clip@{COMMIT}-f32"));
    let entries = std::fs::read_dir(staging).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension() == Some("part".as_ref()))
        .collect()
}

#[tokio::test]
async fn a_pulled_model_is_complete_loads_and_can_be_chosen() {
    let (server, (_dir, store)) = (Server::start().await, store());
    let mut told: Vec<Progress> = Vec::new();
    let model = store
        .pull("acme/tiny-clip", &server.options(), |p| {
            told.push(p.clone())
        })
        .await
        .unwrap();

    assert_eq!(
        (
            model.revision.as_str(),
            model.manifest.family,
            model.manifest.dims
        ),
        (COMMIT, Family::Clip, 24)
    );
    assert!(model.manifest.towers.text && model.manifest.towers.image);
    assert_eq!(model.manifest.files.len(), 5);
    assert!(server.seen("README").is_empty() && server.seen("pytorch").is_empty());
    let last = told.last().unwrap();
    assert_eq!(
        (last.bytes, last.total),
        (model.manifest.size_bytes(), model.manifest.size_bytes())
    );
    assert!(told.windows(2).all(|pair| pair[0].bytes <= pair[1].bytes));

    assert_eq!(store.list().unwrap(), std::slice::from_ref(&model));
    assert_eq!(store.active().unwrap(), None);
    store.set_active("acme/tiny-clip").unwrap();
    assert_eq!(store.active().unwrap(), Some(model.clone()));
    let loaded = load(&model, &EngineOptions::default()).unwrap();
    assert_eq!(loaded.spec.version, COMMIT);
    assert_eq!(
        loaded.text.unwrap().encode_texts(&["a cat"]).unwrap()[0].len(),
        24
    );

    // A second pull of the same commit asks for the listing only.
    let before = server.seen("").len();
    server.pull(&store).await.unwrap();
    assert_eq!(server.seen("").len(), before + 1);
    store.remove("acme/tiny-clip").unwrap();
    assert!(matches!(
        store.get("acme/tiny-clip"),
        Err(ModelsError::NotInstalled { .. })
    ));
    assert_eq!(store.active().unwrap(), None);
}

#[tokio::test]
async fn the_token_stays_with_the_hub() {
    let (server, (_dir, store)) = (Server::start().await, store());
    server.pull(&store).await.unwrap();
    assert!(
        server
            .seen("resolve/")
            .iter()
            .all(|line| line.ends_with("Bearer secret"))
    );
    assert_eq!(server.seen("storage/"), [format!("storage/{WEIGHTS} - -")]);
}

#[tokio::test]
async fn a_cut_transfer_goes_on_where_it_stopped() {
    let (server, (_dir, store)) = (Server::start().await, store());
    server.set(|b| b.cuts = vec![50_000, 100_000]);
    server.pull(&store).await.unwrap();
    assert_eq!(
        server.seen("storage/"),
        [
            format!("storage/{WEIGHTS} - -"),
            format!("storage/{WEIGHTS} bytes=100000- -"),
            format!("storage/{WEIGHTS} bytes=150000- -")
        ]
    );
}

#[tokio::test]
async fn a_pull_after_a_killed_one_takes_up_its_parts() {
    let (server, (_dir, store)) = (Server::start().await, store());
    server.set(|b| b.cuts = vec![123_456]);
    let once = PullOptions {
        retries: 0,
        ..server.options()
    };
    let error = store
        .pull("acme/tiny-clip", &once, |_| ())
        .await
        .unwrap_err();
    assert!(matches!(error, ModelsError::Transfer { .. }), "{error}");
    assert_eq!(std::fs::metadata(&parts(&store)[0]).unwrap().len(), 123_456);
    assert!(
        store.list().unwrap().is_empty(),
        "half a model must not be listed"
    );

    let reopened = ModelStore::open(store.dir()).unwrap();
    server.pull(&reopened).await.unwrap();
    assert_eq!(
        server.seen("storage/")[1],
        format!("storage/{WEIGHTS} bytes=123456- -")
    );
    assert_eq!(
        server.seen("resolve/tokenizer.json").len(),
        1,
        "finished files are not fetched again"
    );
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_taken_from_the_start() {
    let (server, (_dir, store)) = (Server::start().await, store());
    server.set(|b| (b.cuts, b.ignore_ranges) = (vec![100_000], true));
    let model = server.pull(&store).await.unwrap();
    let wanted = std::fs::read(data().join("tiny-clip").join(WEIGHTS)).unwrap();
    assert!(std::fs::read(model.dir.join(WEIGHTS)).unwrap() == wanted);
}

#[tokio::test]
async fn wrong_bytes_are_removed_and_named() {
    let (server, (_dir, store)) = (Server::start().await, store());
    server.set(|b| b.corrupt = true);
    let error = server.pull(&store).await.unwrap_err();
    assert!(
        matches!(&error, ModelsError::Hash { file, .. } if file == WEIGHTS),
        "{error}"
    );
    assert!(parts(&store).is_empty());
    server.set(|b| b.corrupt = false);
    server.pull(&store).await.unwrap();
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let (server, (_dir, store)) = (Server::start().await, store());
    let pull = async |id: &str| store.pull(id, &server.options(), |_| ()).await.unwrap_err();
    assert!(matches!(
        pull("acme/other").await,
        ModelsError::NotFound { .. }
    ));
    assert!(matches!(pull("../etc").await, ModelsError::BadId { .. }));
    server.set(|b| b.refuse = Some(401));
    let denied = pull("acme/tiny-clip").await;
    assert!(matches!(denied, ModelsError::Denied { status: 401, .. }));
    assert!(denied.to_string().contains("HF_TOKEN"));
    server.set(|b| b.refuse = Some(503));
    assert!(matches!(
        pull("acme/tiny-clip").await,
        ModelsError::Status { status: 503, .. }
    ));
    let options = PullOptions {
        endpoint: Some("ftp://x".to_owned()),
        ..Default::default()
    };
    let error = store
        .pull("acme/tiny-clip", &options, |_| ())
        .await
        .unwrap_err();
    assert!(matches!(error, ModelsError::Endpoint { .. }));
}

#[tokio::test]
async fn a_model_is_pulled_by_one_at_a_time() {
    let (server, (_dir, store)) = (Server::start().await, store());
    let (a, b) = tokio::join!(server.pull(&store), server.pull(&store));
    assert!(a.is_ok());
    assert!(matches!(b, Err(ModelsError::Busy { .. })));
}

#[test]
fn a_folder_installs_without_a_hub() {
    let (_dir, store) = store();
    let model = store
        .install_dir("local/siglip", &data().join("tiny-siglip"))
        .unwrap();
    assert_eq!(
        (
            model.manifest.family,
            model.manifest.dims,
            model.revision.as_str()
        ),
        (Family::Siglip, 32, "")
    );
    assert!(!model.dir.join("reference.json").is_file());
    // Again over itself: replaced, not mixed.
    let again = store
        .install_dir("local/siglip", &data().join("tiny-siglip"))
        .unwrap();
    assert_eq!(again, model);
    assert_eq!(store.list().unwrap(), [model]);
    assert!(
        store
            .install_dir("local/none", &data().join("images"))
            .is_err()
    );
}

#[test]
fn an_install_cut_before_its_last_step_is_completed() {
    let (_dir, store) = store();
    let model = store
        .install_dir("local/clip", &data().join("tiny-clip"))
        .unwrap();
    std::fs::rename(&model.dir, store.dir().join(".pull/local--clip@local")).unwrap();
    assert!(store.list().unwrap().is_empty());
    let reopened = ModelStore::open(store.dir()).unwrap();
    assert_eq!(reopened.list().unwrap(), [model]);
}
