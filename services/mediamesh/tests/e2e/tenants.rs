//! No tenant sees or changes what belongs to another, whatever it calls.
//!
//! Generated from the contract: every method must have a case here, so a new one fails this test
//! until somebody has thought about whose data it shows. Each is called by tenant B with ids, keys
//! and page tokens of tenant A; no answer may hold anything of A, and A's data must be as before.
//! Then A calls the same, to prove that there was something to see.

mod cases;

use std::time::Duration;

use anyhow::{Context as _, Result};
use mediamesh_mesh::{
    Identity,
    identity::{Caller, IdentityOptions, KeyRing, Proof, Scopes, options::SigningKeyText},
};
use mediamesh_proto::FILE_DESCRIPTOR_SET;
use mediamesh_testkit::{Launcher, Mesh, TestDatabase, fixture};
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, prost::Message as _};
use serde_json::Value;
use tonic::{
    Code, Request, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};
use uuid::Uuid;

use self::cases::{Case, Expect, cases};
use crate::launcher;

/// Signs what the test calls as a service of the mesh.
const SIGNING_KEY: &str = "test:dGVzdHMgc2lnbiB3aXRoIHRoaXMga2V5IG9mIDMyKyBieXRlcw==";

/// A tenant with a key and one picture.
struct Tenant {
    id: Uuid,
    key: String,
    key_id: String,
    item: Value,
    job_id: String,
    list_token: String,
    jobs_token: String,
    /// The older of two sessions, and a token for the page that it is on.
    session_id: String,
    session_handle: String,
    sessions_token: String,
}

#[tokio::test]
async fn no_method_shows_or_changes_what_belongs_to_another_tenant() -> Result<()> {
    is_isolated(launcher()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_any_on_postgres() -> Result<()> {
    let Some(database) = TestDatabase::create().await? else {
        return Ok(());
    };
    let launcher = launcher().env("MEDIAMESH_DATABASE__URL", &database.url());
    let migrated = launcher.command().arg("migrate").output()?;
    anyhow::ensure!(migrated.status.success(), "{migrated:?}");
    is_isolated(launcher).await?;
    let rows = database
        .psql("SELECT count(DISTINCT tenant_id) FROM media_items")
        .await?;
    assert_eq!(rows, "2", "both tenants are in PostgreSQL");
    Ok(())
}

async fn is_isolated(launcher: Launcher) -> Result<()> {
    let launcher = launcher.env(
        "MEDIAMESH_IDENTITY__SIGNING_KEYS",
        &format!("[\"{SIGNING_KEY}\"]"),
    );
    // one searcher of A is enough to be told of, if not to B
    let mut launcher = launcher.env("MEDIAMESH_SEARCH__POPULAR_MIN_SEARCHERS", "1");
    let keys = [key(&launcher, "alpha")?, key(&launcher, "beta")?];
    let mesh = launcher.start().await?;
    let channel = Channel::from_shared(mesh.grpc_uri())?.connect().await?;
    let [a, b] = keys;
    let a = seed(&mesh, a, 1, "alphapicture.jpg").await?;
    let b = seed(&mesh, b, 2, "betapicture.jpg").await?;
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET)?;
    let before = item(&mesh, &a).await?;

    let cached = requests(
        &method(&pool, "mediamesh.cache.v1.CacheService", "SetEntry"),
        &[cases::entry()],
    )?;
    let as_a = Caller::new(identity(&a), Proof::Token);
    let (status, _) = call(
        &channel,
        "/mediamesh.cache.v1.CacheService/SetEntry",
        &as_a,
        cached,
    )
    .await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
    let sought = requests(
        &method(&pool, "mediamesh.search.v1.SearchService", "SearchMedia"),
        &[serde_json::json!({"query": cases::SOUGHT})],
    )?;
    let (status, _) = call(&channel, cases::SEARCH, &as_a, sought).await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");

    let mut known = cases(&a, &fixture::jpeg(1, 320, 240));
    let (mut controls, mut faults) = (Vec::new(), Vec::new());
    for service in pool.services() {
        // extensions and options bring no services; health and reflection hold no data
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let case = known.remove(path.as_str()).with_context(|| {
                format!("{path} has no case in tenants/cases.rs: whose data does it show?")
            })?;
            let messages = requests(&method, &case.requests)?;
            let as_b = Caller::new(identity(&b), Proof::Token);
            let (status, shown) = call(&channel, &path, &as_b, messages.clone()).await;
            faults.extend(check(&path, &case, &status, &shown, &a));
            controls.push((path, case, messages));
        }
    }
    assert_eq!(
        known.keys().collect::<Vec<_>>(),
        Vec::<&&str>::new(),
        "no such methods"
    );
    assert_eq!(item(&mesh, &a).await?, before, "a stranger changed an item");
    let listed = get(&mesh, &a, "/v1/apiKeys").await?;
    assert!(!listed.to_string().contains("revokeTime\":\""), "{listed}");

    // B goes by the same name, and has removed a history
    let (_, history) = call(&channel, cases::HISTORY, &as_a, vec![Vec::new()]).await;
    assert!(contains(&history, cases::SOUGHT), "a stranger removed it");

    // what changes comes last
    controls.sort_by_key(|(_, case, _)| case.destroys);
    for (path, case, messages) in controls {
        let as_a = Caller::new(identity(&a), Proof::Token);
        let (status, shown) = call(&channel, &path, &as_a, messages).await;
        let seen = markers(&a).iter().any(|marker| contains(&shown, marker));
        let proves = status.code() == Code::Ok && (seen || matches!(case.expect, Expect::NotFound));
        if case.shows && !proves {
            faults.push(format!(
                "{path} shows its owner nothing, so this test proves nothing about it: {status:?}"
            ));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");

    // a client cannot do what services do, whatever its scopes
    let request = requests(
        &method(&pool, "mediamesh.cache.v1.CacheService", "SetEntry"),
        &[cases::entry()],
    )?;
    let mut with_key = Request::new(tokio_stream::iter(request));
    let bearer = format!("Bearer {}", b.key).parse()?;
    with_key.metadata_mut().insert("authorization", bearer);
    let refused = send(
        &channel,
        "/mediamesh.cache.v1.CacheService/SetEntry",
        with_key,
    )
    .await;
    assert_eq!(refused.0.code(), Code::PermissionDenied, "{refused:?}");

    // and a token that leaked opens nothing at the edge, neither over HTTP nor over gRPC
    let token = ring().token(Some(&Caller::new(identity(&a), Proof::Token)));
    let list = mesh.http().request(reqwest::Method::GET, "/v1/mediaItems");
    let refused = mesh
        .http()
        .send(list.header("mediamesh-identity", token))
        .await?;
    assert_eq!(refused.status, 401, "{}", refused.text());
    let edge = Channel::from_shared(format!("http://{}", mesh.http_address()))?;
    let path = "/mediamesh.media.v1.MediaService/ListMediaItems";
    let as_a = Caller::new(identity(&a), Proof::Token);
    let (status, _) = call(&edge.connect().await?, path, &as_a, vec![vec![]]).await;
    assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
    Ok(())
}

/// Makes a tenant and its first key, on the data folder.
fn key(launcher: &Launcher, tenant: &str) -> Result<Value> {
    let output = launcher
        .command()
        .arg("--data-dir")
        .arg(launcher.data())
        .args([
            "keys",
            "create",
            "test",
            "--scope",
            "admin",
            "--offline",
            "--json",
        ])
        .args(["--new-tenant", tenant])
        .output()?;
    anyhow::ensure!(output.status.success(), "{output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Stores a picture with words of its own, and waits until it is found.
async fn seed(mesh: &Mesh, key: Value, seed: u32, name: &str) -> Result<Tenant> {
    let secret = key["secret"].as_str().context("no secret")?.to_owned();
    let word = name.trim_end_matches("picture.jpg");
    for (extra, label) in [(0, name.to_owned()), (100, format!("{word}second.jpg"))] {
        let path = format!(
            "/v1/mediaItems?displayName={label}&folder={word}folder&tags={word}tag&caption={word}caption"
        );
        let request = mesh
            .http()
            .request(reqwest::Method::POST, &path)
            .header("x-api-key", &secret)
            .header("content-type", "image/jpeg")
            .body(fixture::jpeg(seed + extra, 320, 240));
        mesh.http().send(request).await?.ok()?;
    }
    let mut tenant = Tenant {
        id: Uuid::nil(),
        key: secret,
        key_id: key["apiKey"]["id"].as_str().unwrap().to_owned(),
        item: Value::Null,
        job_id: String::new(),
        list_token: String::new(),
        jobs_token: String::new(),
        session_id: String::new(),
        session_handle: String::new(),
        sessions_token: String::new(),
    };
    log_in(mesh, &mut tenant, word).await?;
    for _ in 0..600 {
        let found = get(
            mesh,
            &tenant,
            "/v1/mediaItems?pageSize=1&order=ORDER_OLDEST",
        )
        .await?;
        let stats = get(mesh, &tenant, "/v1/queue/stats").await?;
        tenant.list_token = found["nextPageToken"].as_str().unwrap().to_owned();
        tenant.item = found["mediaItems"][0].clone();
        if stats["waiting"] == "0" && stats["active"] == "0" && stats["delayed"] == "0" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(tenant.item["state"], "STATE_READY", "{}", tenant.item);
    let jobs = get(mesh, &tenant, "/v1/jobs?pageSize=1").await?;
    tenant.job_id = jobs["jobs"][0]["id"].as_str().unwrap().to_owned();
    tenant.jobs_token = jobs["nextPageToken"].as_str().unwrap().to_owned();
    tenant.id = tenant_of(&tenant, mesh).await?;
    Ok(tenant)
}

/// Opens two sessions with the tenant's key.
async fn log_in(mesh: &Mesh, tenant: &mut Tenant, word: &str) -> Result<()> {
    use mediamesh_proto::cache::v1::{
        CreateSessionRequest, ListSessionsRequest, Session,
        session_service_client::SessionServiceClient,
    };
    let channel = Channel::from_shared(mesh.grpc_uri())?.connect().await?;
    let bearer: tonic::metadata::MetadataValue<_> = format!("Bearer {}", tenant.key).parse()?;
    let mut client =
        SessionServiceClient::with_interceptor(channel, move |mut request: Request<()>| {
            let bearer = bearer.clone();
            request.metadata_mut().insert("authorization", bearer);
            Ok(request)
        });
    let session = Session {
        email: format!("{word}mail@example.com"),
        ..Session::default()
    };
    let request = CreateSessionRequest {
        session: Some(session),
        ttl: None,
    };
    let made = client.create_session(request.clone()).await?.into_inner();
    tenant.session_id = made.session_id;
    tenant.session_handle = made.session.context("no session")?.handle;
    // times are in milliseconds
    tokio::time::sleep(Duration::from_millis(5)).await;
    client.create_session(request).await?;
    let request = ListSessionsRequest {
        page_size: 1,
        ..ListSessionsRequest::default()
    };
    let page = client.list_sessions(request).await?.into_inner();
    tenant.sessions_token = page.next_page_token;
    Ok(())
}

/// The tenant of a key, as the services see it.
async fn tenant_of(tenant: &Tenant, mesh: &Mesh) -> Result<Uuid> {
    use mediamesh_proto::{
        ApiKeySecret,
        media::v1::{ResolveApiKeyRequest, api_key_service_client::ApiKeyServiceClient},
    };
    let key: ApiKeySecret = tenant.key.parse()?;
    let mut request = Request::new(ResolveApiKeyRequest {
        api_key_id: key.id().to_string(),
        secret_sha256: key.secret_sha256().to_vec().into(),
    });
    let token = ring().token(None).to_str()?.parse()?;
    request.metadata_mut().insert("mediamesh-identity", token);
    let channel = Channel::from_shared(mesh.grpc_uri())?.connect().await?;
    let answer = ApiKeyServiceClient::new(channel)
        .resolve_api_key(request)
        .await?;
    Ok(answer.into_inner().tenant_id.parse()?)
}

async fn get(mesh: &Mesh, tenant: &Tenant, path: &str) -> Result<Value> {
    let request = mesh
        .http()
        .request(reqwest::Method::GET, path)
        .header("x-api-key", &tenant.key);
    mesh.http().send(request).await?.ok()
}

async fn item(mesh: &Mesh, tenant: &Tenant) -> Result<Value> {
    let id = tenant.item["id"].as_str().unwrap();
    get(mesh, tenant, &format!("/v1/mediaItems/{id}")).await
}

fn ring() -> KeyRing {
    let options = IdentityOptions {
        signing_keys: vec![SigningKeyText(SIGNING_KEY.to_owned())],
        ..IdentityOptions::default()
    };
    options.key_ring(b"").unwrap()
}

/// As services carry it on: so that methods of the mesh are reached as well.
fn identity(tenant: &Tenant) -> Identity {
    Identity {
        tenant_id: tenant.id,
        subject: "test".to_owned(),
        scopes: Scopes::all(),
    }
}

/// Texts that only A's data has.
fn markers(a: &Tenant) -> Vec<String> {
    let text = |field: &str| a.item[field].as_str().unwrap().to_owned();
    vec![
        text("id"),
        text("sha256"),
        "alphapicture".to_owned(),
        "alphasecond".to_owned(),
        "alphafolder".to_owned(),
        "alphatag".to_owned(),
        "alphacaption".to_owned(),
        "alphamail".to_owned(),
        a.session_id.clone(),
        a.session_handle.clone(),
        a.job_id.clone(),
        a.key_id.clone(),
        a.id.to_string(),
        cases::CACHED_VALUE.to_owned(),
        cases::SOUGHT.to_owned(),
    ]
}

/// What is wrong with an answer to a stranger.
fn check(path: &str, case: &Case, status: &Status, shown: &[u8], a: &Tenant) -> Vec<String> {
    let code = status.code();
    let good = match &case.expect {
        Expect::NotFound => code == Code::NotFound,
        Expect::Nothing => code == Code::Ok,
        Expect::Refused(allowed) => *allowed == code,
    };
    let mut faults = Vec::new();
    if !good {
        let (text, expected) = (status.message(), &case.expect);
        faults.push(format!(
            "{path} answers a stranger {code:?}, not {expected:?}: {text}"
        ));
    }
    let spoken = [status.message().as_bytes(), status.details()].concat();
    // a refusal may repeat what was asked for, and nothing else
    let asked_for = [
        a.item["id"].as_str().unwrap(),
        &a.job_id,
        &a.key_id,
        &a.session_handle,
    ];
    let own_hash = a.item["sha256"].as_str().filter(|_| case.has_bytes);
    for marker in markers(a) {
        if own_hash == Some(&marker) {
            continue;
        }
        let told = !asked_for.contains(&marker.as_str()) && contains(&spoken, &marker);
        if told || contains(shown, &marker) {
            faults.push(format!("{path} shows a stranger {marker}"));
        }
    }
    faults
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

pub(crate) fn method(pool: &DescriptorPool, service: &str, name: &str) -> MethodDescriptor {
    let service = pool.get_service_by_name(service).unwrap();
    service
        .methods()
        .find(|method| method.name() == name)
        .unwrap()
}

/// Reads messages of the method's input type from JSON.
pub(crate) fn requests(method: &MethodDescriptor, json: &[Value]) -> Result<Vec<Vec<u8>>> {
    json.iter()
        .map(|json| {
            let message = DynamicMessage::deserialize(method.input(), json.clone());
            let message = message.with_context(|| format!("{}: {json}", method.full_name()))?;
            Ok(message.encode_to_vec())
        })
        .collect()
}

/// Calls any method; returns how it ended and the bytes of all its answers.
async fn call(
    channel: &Channel,
    path: &str,
    caller: &Caller,
    messages: Vec<Vec<u8>>,
) -> (Status, Vec<u8>) {
    let mut request = Request::new(tokio_stream::iter(messages));
    let token = ring().token(Some(caller));
    let token = token.to_str().unwrap().parse().unwrap();
    request.metadata_mut().insert("mediamesh-identity", token);
    send(channel, path, request).await
}

pub(crate) async fn send(
    channel: &Channel,
    path: &str,
    request: Request<impl tokio_stream::Stream<Item = Vec<u8>> + Send + 'static>,
) -> (Status, Vec<u8>) {
    let mut client = tonic::client::Grpc::new(channel.clone()).max_decoding_message_size(64 << 20);
    client.ready().await.unwrap();
    let path = path.parse().unwrap();
    let mut shown = Vec::new();
    let mut answers = match client.streaming(request, path, Raw).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return (status, shown),
    };
    loop {
        match answers.message().await {
            Ok(Some(message)) => shown.extend_from_slice(&message),
            Ok(None) => return (Status::ok(""), shown),
            Err(status) => return (status, shown),
        }
    }
}

/// Messages as the bytes they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(out, &item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; bytes::Buf::remaining(input)];
        bytes::Buf::copy_to_slice(input, &mut message);
        Ok(Some(message))
    }
}
