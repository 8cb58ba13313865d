//! How many SQL statements a request takes does not depend on how many rows it is about.
//!
//! Generated from the contract: every method of a service that has the store must have a case here. Each
//! is called about few and about many rows, and its statements are counted where operators see them: as
//! spans of its trace.

mod cases;

use std::{collections::HashSet, time::Duration};

use anyhow::{Context as _, Result};
use mediamesh_proto::FILE_DESCRIPTOR_SET;
use mediamesh_testkit::{Collector, Mesh, Span, TestDatabase, fixture};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use serde_json::{Value, json};
use tonic::{Code, Request, transport::Channel};

use self::cases::{Count, FEW, MANY, Rows, cases};
use crate::{
    id, launcher,
    tenants::{method, requests, send},
};

/// Services that ask the store.
const SERVICES: [&str; 7] = [
    "mediamesh.media.v1.MediaService",
    "mediamesh.media.v1.JobService",
    "mediamesh.media.v1.ApiKeyService",
    "mediamesh.media.v1.UserService",
    "mediamesh.media.v1.RequestLogService",
    "mediamesh.media.v1.PresignService",
    "mediamesh.search.v1.SearchService",
];
/// Span above the call: that of the test.
const PARENT: &str = "00f067aa0ba902b7";

struct Rig {
    channel: Channel,
    collector: Collector,
    pool: DescriptorPool,
    calls: u32,
}

impl Rig {
    /// Calls a method as a trace of its own; answers how many statements it took.
    async fn call(&mut self, path: &str, messages: &[Value]) -> Result<Vec<String>> {
        self.calls += 1;
        let trace = format!("{:032x}", self.calls);
        let (service, name) = path.trim_start_matches('/').split_once('/').unwrap();
        let messages = requests(&method(&self.pool, service, name), messages)?;
        let mut request = Request::new(tokio_stream::iter(messages));
        let traceparent = format!("00-{trace}-{PARENT}-01").parse()?;
        request.metadata_mut().insert("traceparent", traceparent);
        let (status, _) = send(&self.channel, path, request).await;
        anyhow::ensure!(status.code() == Code::Ok, "{path}: {status:?}");
        for _ in 0..200 {
            let spans = self.collector.trace(&trace);
            if is_whole(&spans) {
                return Ok(statements(&spans));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("the trace of {path} is not whole");
    }
}

/// Whether every span's parent is there, but for that of the one root.
fn is_whole(spans: &[Span]) -> bool {
    let ids: HashSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    let mut above = spans.iter().map(|span| span.parent_id.as_str());
    let roots = above.clone().filter(|id| *id == PARENT).count();
    roots == 1 && above.all(|id| id == PARENT || ids.contains(id))
}

fn statements(spans: &[Span]) -> Vec<String> {
    let text = |span: &Span| span.attributes.get("db.query.text").cloned();
    spans.iter().filter_map(text).collect()
}

/// Stores what the cases are about; answers the ids of items.
async fn fill(mesh: &Mesh, rig: &mut Rig) -> Result<Vec<String>> {
    let http = mesh.http();
    let mut items = Vec::new();
    for seed in 0..u32::try_from(FEW + MANY)? {
        let folder = ["few", "many"][usize::from(seed as usize >= FEW)];
        let name = format!("picture {seed}.jpg");
        let item = http.upload_ok(&name, folder, fixture::jpeg(seed, 32, 24));
        items.push(id(&item.await?).to_owned());
    }
    // what cannot be decoded fails for good
    for seed in 0..u32::try_from(FEW + MANY)? {
        let mut broken = fixture::jpeg(1000 + seed, 32, 24);
        broken.truncate(40);
        broken.extend_from_slice(&seed.to_be_bytes());
        http.upload_ok("broken.jpg", "broken", broken).await?;
    }
    http.settled().await?;
    for place in 0..MANY {
        let key = json!({"apiKey": {"displayName": format!("{place}"), "scopes": ["SCOPE_READ"]}});
        rig.call("/mediamesh.media.v1.ApiKeyService/CreateApiKey", &[key])
            .await?;
        let search = json!({"query": format!("sought {place}"), "filter": {"folder": "none"}});
        http.search(search).await?;
    }
    // written a little later
    let history = "/v1/searches?pageSize=200";
    for _ in 0..100 {
        let past = http.get(history).await?.ok()?;
        if past["searches"].as_array().map_or(0, Vec::len) >= MANY {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (folder, count) in [("few", FEW), ("many", MANY)] {
        let found = json!({"query": "picture", "filter": {"folder": folder}, "limit": 100});
        assert_eq!(http.search_ids(found).await?.len(), count);
    }
    // nothing else works on the store from here on
    rig.call("/mediamesh.media.v1.JobService/PauseQueue", &[json!({})])
        .await?;
    Ok(items)
}

async fn count_all(database: Option<&TestDatabase>) -> Result<()> {
    let collector = Collector::start().await?;
    let mut launcher = launcher()
        .env("MEDIAMESH_TELEMETRY__OTLP_ENDPOINT", collector.endpoint())
        // milliseconds between exports
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    if let Some(database) = database {
        launcher = launcher.env("MEDIAMESH_DATABASE__URL", &database.url());
    }
    let mesh = launcher.start().await?;
    let mut rig = Rig {
        channel: Channel::from_shared(mesh.grpc_uri())?.connect().await?,
        collector,
        pool: DescriptorPool::decode(FILE_DESCRIPTOR_SET)?,
        calls: 0,
    };
    let items = fill(&mesh, &mut rig).await?;
    let jobs = mesh.http().get("/v1/jobs?pageSize=500").await?.ok()?;
    let keys = mesh.http().get("/v1/apiKeys?pageSize=2").await?.ok()?;
    let user = |place: usize| format!("key:{}", id(&keys["apiKeys"][place]));
    let mut known = cases(&items, &jobs["jobs"], &[user(0), user(1)]);
    let methods: Vec<MethodDescriptor> = SERVICES
        .iter()
        .filter_map(|name| rig.pool.get_service_by_name(name))
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect();
    let (mut faults, mut ordered) = (Vec::new(), Vec::new());
    for method in methods {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let case = known.remove(path.as_str()).with_context(|| {
            format!("{path} has no case in statements/cases.rs: how many statements does it take?")
        })?;
        ordered.push((path, case));
    }
    assert!(known.is_empty(), "no such methods: {:?}", known.keys());
    // what removes comes last
    ordered.sort_by_key(|(_, case)| case.removes);
    for (path, case) in ordered {
        let Rows::Any { warm, few, many } = case.rows else {
            continue;
        };
        // what is read once in the life of a process is no matter
        rig.call(&path, &warm).await?;
        let (few, many) = (rig.call(&path, &few).await?, rig.call(&path, &many).await?);
        let allowed = match case.count {
            Count::Same => few.len(),
            Count::OneMore => few.len() + 1,
        };
        if few.is_empty() || many.len() > allowed {
            faults.push(format!("{path}: {few:#?} for few rows, {many:#?} for many"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));

    let metrics = mesh.http().get("/metrics").await?.text();
    let pool = if database.is_some() {
        "primary"
    } else {
        "writer"
    };
    for line in [
        format!("mediamesh_database_pool_connections{{pool=\"{pool}\",state=\"idle\"}}"),
        format!("mediamesh_database_pool_connections{{pool=\"{pool}\",state=\"in_use\"}}"),
        format!("mediamesh_database_pool_max_connections{{pool=\"{pool}\"}}"),
        format!("mediamesh_database_pool_waiting{{pool=\"{pool}\"}} 0"),
        format!("mediamesh_database_pool_wait_seconds_count{{pool=\"{pool}\"}}"),
        "mediamesh_database_statements_total{operation=\"list_items\"}".to_owned(),
    ] {
        assert!(metrics.contains(&line), "no {line} in {metrics}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_statements_does_not_depend_on_rows_in_the_embedded_database() -> Result<()> {
    count_all(None).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_statements_does_not_depend_on_rows_in_postgres() -> Result<()> {
    let Some(database) = TestDatabase::create().await? else {
        return Ok(());
    };
    count_all(Some(&database)).await
}
