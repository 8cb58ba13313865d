//! PostgreSQL, Redis and S3 are stopped, killed and started again under load, one after the other, while
//! five processes go on: errors come only while the server is away, each says what is wrong, nothing
//! acknowledged is lost, and nobody restarts one of ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use mediamesh_mesh::{Channel, Policy, client::connect};
use mediamesh_proto::{
    cache::v1::{
        Entry, GetEntryRequest, SetEntryRequest, cache_service_client::CacheServiceClient,
    },
    status::reason_of,
};
use mediamesh_testkit::{
    Cluster, Http, Postgres, Redis, S3, TestDatabase, fixture, postgres, redis,
};
use reqwest::Method;
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tonic::Code;

use crate::id;

/// Rounds of one request of each kind a second: debug builds of five processes share the machine with the
/// test, and pictures are processed as well.
const RATE: u32 = 4;
/// Time a request may take; a debug build on a slow machine needs seconds for an upload.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a server is away.
const AWAY: Duration = Duration::from_secs(5);
/// Before the first outage, and between two.
const CALM: Duration = Duration::from_secs(2);
/// From the moment on that a server answers again, no request fails after so long.
const RECOVERY: Duration = Duration::from_secs(8);

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Upload,
    Search,
    Item,
    Content,
    Cache,
}

/// How a request ended.
#[derive(Debug, Clone)]
struct Ended {
    kind: Kind,
    due: Instant,
    took: Duration,
    /// `None` if well.
    error: Option<String>,
    typed: bool,
}

impl Ended {
    fn at(&self) -> Instant {
        self.due + self.took
    }
}

/// Where requests go.
#[derive(Clone)]
struct Target {
    edge: Http,
    cache: CacheServiceClient<Channel>,
    known: Arc<parking_lot::Mutex<BTreeMap<String, u32>>>,
}

impl Target {
    async fn http(&self, kind: Kind, number: u32) -> Result<(u16, String, String, String)> {
        let some = {
            let known = self.known.lock();
            let count = u32::try_from(known.len())?.max(1);
            known.keys().nth((number % count) as usize).cloned()
        };
        let item = some.context("nothing is stored yet")?;
        let request = match kind {
            Kind::Upload => self
                .edge
                .request(Method::POST, "/v1/mediaItems")
                .query(&[("displayName", format!("pier {number}.jpg"))])
                .header("content-type", "application/octet-stream")
                .body(fixture::jpeg(number, 96, 72)),
            // never the same twice, so that the database is asked
            Kind::Search => self
                .edge
                .request(Method::POST, "/v1/mediaItems:search")
                .json(&json!({"query": format!("pier {number}"), "mode": "MODE_FULL_TEXT"})),
            Kind::Item => (self.edge).request(Method::GET, &format!("/v1/mediaItems/{item}")),
            Kind::Content | Kind::Cache => {
                let path = format!("/v1/mediaItems/{item}/content");
                self.edge.request(Method::GET, &path)
            }
        };
        let limit = LIMIT.as_secs().to_string();
        let request = request.header("x-request-timeout", limit);
        let answer = self.edge.send(request).await?;
        let uploaded = match kind == Kind::Upload && answer.status.is_success() {
            true => id(&answer.json()["mediaItem"]).to_owned(),
            false => String::new(),
        };
        let (status, reason) = (answer.status.as_u16(), answer.reason());
        let text = match answer.status.is_success() {
            true => String::new(),
            false => answer.text(),
        };
        Ok((status, reason, uploaded, text))
    }

    async fn cache(&self, number: u32) -> Result<(), tonic::Status> {
        let mut client = self.cache.clone();
        let key = format!("outage:{}", number % 50);
        let mut request = tonic::Request::new(SetEntryRequest {
            entry: Some(Entry {
                key: key.clone(),
                value: "v".into(),
                ..Entry::default()
            }),
            lease_token: 0,
        });
        request.set_timeout(LIMIT);
        client.set_entry(request).await?;
        let mut request = tonic::Request::new(GetEntryRequest {
            key,
            ..GetEntryRequest::default()
        });
        request.set_timeout(LIMIT);
        client.get_entry(request).await.map(drop)
    }

    async fn ask(self, kind: Kind, number: u32, due: Instant) -> Ended {
        let (error, typed) = match kind {
            Kind::Cache => match self.cache(number).await {
                Ok(()) => (None, true),
                Err(status) => {
                    let typed = [Code::Unavailable, Code::DeadlineExceeded];
                    let typed = typed.contains(&status.code()) && reason_of(&status).is_some();
                    (Some(format!("{:?}", status.code())), typed)
                }
            },
            _ => match self.http(kind, number).await {
                Ok((200..=299, _, uploaded, _)) => {
                    if kind == Kind::Upload {
                        self.known.lock().insert(uploaded, number);
                    }
                    (None, true)
                }
                Ok((status, reason, _, text)) => {
                    let typed = matches!(status, 503 | 504) && !reason.is_empty();
                    let short = reason.trim_start_matches("ERROR_REASON_");
                    match typed {
                        true => (Some(format!("{status} {short}")), true),
                        false => (Some(format!("{status} {text}")), false),
                    }
                }
                Err(error) => (Some(format!("{error:#}")), false),
            },
        };
        Ended {
            kind,
            due,
            took: due.elapsed(),
            error,
            typed,
        }
    }
}

/// Requests at a steady rate until it is dropped or ended, each at its moment, whatever became of those
/// before.
async fn load(target: Target, mut end: tokio::sync::oneshot::Receiver<()>) -> Result<Vec<Ended>> {
    let mut requests = JoinSet::new();
    let mut ticks = interval(Duration::from_secs(1) / RATE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut number = 1_000;
    loop {
        let due = tokio::select! {
            _ = &mut end => break,
            due = ticks.tick() => due,
        };
        number += 1;
        for kind in [
            Kind::Upload,
            Kind::Search,
            Kind::Item,
            Kind::Content,
            Kind::Cache,
        ] {
            requests.spawn(target.clone().ask(kind, number, due));
        }
    }
    Ok(requests.join_all().await)
}

/// A server was away.
struct Outage {
    what: &'static str,
    from: Instant,
    /// It answers again.
    until: Instant,
    seen: bool,
}

/// The servers that ours need.
struct Servers {
    postgres: Arc<Postgres>,
    redis: Redis,
    bucket: S3,
}

const OUTAGES: [&str; 6] = [
    "PostgreSQL stopped",
    "PostgreSQL killed",
    "Redis stopped",
    "Redis killed",
    "S3 stopped",
    "S3 killed",
];

impl Servers {
    async fn take(&mut self, what: &str) -> Result<()> {
        match what {
            "PostgreSQL stopped" => self.postgres.pause(),
            "PostgreSQL killed" => self.postgres.kill().await,
            "Redis stopped" => self.redis.pause(),
            "Redis killed" => self.redis.kill(),
            "S3 stopped" => {
                self.bucket.pause();
                Ok(())
            }
            _ => {
                self.bucket.stop();
                Ok(())
            }
        }
    }

    async fn bring(&mut self, what: &str) -> Result<()> {
        match what {
            "PostgreSQL stopped" => self.postgres.unpause(),
            "PostgreSQL killed" => self.postgres.resume().await,
            "Redis stopped" => self.redis.resume(),
            "Redis killed" => self.redis.restart().await,
            "S3 stopped" => {
                self.bucket.unpause();
                Ok(())
            }
            _ => self.bucket.start_again(),
        }
    }
}

async fn metrics(cluster: &Cluster, service: &str) -> Result<String> {
    let http = cluster.replica(service, 0).http();
    Ok(http.get("/metrics").await?.text())
}

/// How often nobody got a connection in time; it never falls.
async fn timeouts(cluster: &Cluster) -> Result<f64> {
    let page = metrics(cluster, "media").await?;
    let lines = page.lines().filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        let counts = name.starts_with("mediamesh_database_pool_timeouts_total");
        counts.then(|| value.parse::<f64>().ok()).flatten()
    });
    Ok(lines.sum())
}

/// Whether an operator sees that a server is away; there were so many `timeouts` before.
async fn shows(cluster: &Cluster, what: &str, before: f64) -> Result<bool> {
    Ok(match what.split(' ').next() {
        Some("PostgreSQL") => {
            let waits = |line: &str| {
                line.starts_with("mediamesh_database_pool_waiting") && !line.ends_with(" 0")
            };
            let waiting = metrics(cluster, "media").await?.lines().any(waits);
            waiting || timeouts(cluster).await? > before
        }
        Some("Redis") => metrics(cluster, "cache")
            .await?
            .contains("mediamesh_cache_redis_connected 0"),
        _ => metrics(cluster, "media")
            .await?
            .contains("mediamesh_storage_available 0"),
    })
}

fn table(outages: &[Outage], ended: &[Ended]) -> String {
    let mut text = String::new();
    for outage in outages {
        let window = outage.from..outage.until + RECOVERY;
        let within = || ended.iter().filter(|it| window.contains(&it.due));
        let mut errors: BTreeMap<String, usize> = BTreeMap::new();
        for it in within() {
            if let Some(error) = &it.error {
                *errors.entry(format!("{:?} {error}", it.kind)).or_insert(0) += 1;
            }
        }
        let last = within().filter(|it| it.error.is_some()).map(|it| it.due);
        let last = last.max().map_or(Duration::ZERO, |last| {
            last.saturating_duration_since(outage.until)
        });
        let slowest = within().map(|it| it.took).max().unwrap_or_default();
        text.push_str(&format!(
            "| {} | {} | {} | {:.1} s | {:.2} s | {} |\n",
            outage.what,
            within().count(),
            errors.values().sum::<usize>(),
            slowest.as_secs_f32(),
            last.as_secs_f32(),
            errors
                .iter()
                .map(|(error, count)| format!("{count} {error}"))
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_come_only_while_a_server_is_away_and_nothing_acknowledged_is_lost() -> Result<()> {
    let (Some(postgres), Some(redis)) = (postgres::programs(), redis::programs()) else {
        return Ok(());
    };
    let mut servers = Servers {
        // as it is by default; without, a kill takes what was committed last
        postgres: Arc::new(Postgres::start(&postgres, &["synchronous_commit=on"]).await?),
        redis: Redis::start(&redis).await?,
        bucket: S3::start()?,
    };
    let database = TestDatabase::create_in(&servers.postgres).await?;
    let cluster = Cluster::of(env!("CARGO_BIN_EXE_mediamesh"))
        .env("MEDIAMESH_DATABASE__URL", &database.url())
        .envs(servers.bucket.env())
        .envs(servers.redis.env())
        .service("cache", 1)
        .service("embedding", 1)
        .service("search", 1)
        .service("media", 1)
        .service("edge", 1)
        .start()
        .await?;
    let edge = cluster.replica("edge", 0).http().clone();
    let cache = connect(&cluster.uris("cache")[0], Policy::default())?;
    let first = edge
        .upload_ok("pier.jpg", "", fixture::jpeg(1, 96, 72))
        .await?;
    edge.settled().await?;
    let known = BTreeMap::from([(id(&first).to_owned(), 1)]);
    let target = Target {
        edge: edge.clone(),
        cache: CacheServiceClient::new(cache),
        known: Arc::new(parking_lot::Mutex::new(known)),
    };

    let (stop, stopped) = tokio::sync::oneshot::channel();
    let running = tokio::spawn(load(target.clone(), stopped));
    sleep(CALM).await;
    let mut outages = Vec::new();
    for what in OUTAGES {
        let before = timeouts(&cluster).await?;
        let from = Instant::now();
        servers.take(what).await?;
        let mut seen = false;
        while from.elapsed() < AWAY {
            seen |= shows(&cluster, what, before).await?;
            sleep(Duration::from_millis(100)).await;
        }
        servers.bring(what).await?;
        let until = Instant::now();
        outages.push(Outage {
            what,
            from,
            until,
            seen,
        });
        sleep(RECOVERY + CALM).await;
    }
    stop.send(()).ok().context("the load has ended")?;
    let ended = running.await??;
    let table = table(&outages, &ended);
    let _ = writeln!(std::io::stderr(), "{} requests\n{table}", ended.len());

    let untyped: Vec<&Ended> = ended.iter().filter(|it| !it.typed).collect();
    // the answers last: they are what is read first
    assert!(untyped.is_empty(), "{}\n{untyped:#?}", cluster.logs());
    let excused = |it: &&Ended| {
        // one that began before the outage may end in it
        let of = |outage: &Outage| it.due < outage.until + RECOVERY && it.at() > outage.from;
        outages.iter().any(of)
    };
    let outside: Vec<&Ended> = (ended.iter())
        .filter(|it| it.error.is_some() && !excused(it))
        .collect();
    assert!(outside.is_empty(), "{outside:#?}\n{table}");
    for outage in &outages {
        assert!(outage.seen, "{}: no metric showed it\n{table}", outage.what);
    }
    let slowest = ended.iter().map(|it| it.took).max().unwrap_or_default();
    assert!(slowest < LIMIT * 2, "{slowest:?}\n{table}");

    edge.settled().await?;
    let items = edge.list_all("").await?;
    let stored: BTreeSet<&str> = items.iter().map(id).collect();
    let known = target.known.lock().clone();
    assert!(known.len() > 50, "too little was uploaded: {}", known.len());
    for (item, seed) in &known {
        assert!(stored.contains(item.as_str()), "{item} of {seed} is gone");
        let path = format!("/v1/mediaItems/{item}/content");
        let bytes = edge.get(&path).await?.body;
        assert!(bytes == fixture::jpeg(*seed, 96, 72), "{item} of {seed}");
    }
    for item in &items {
        assert_eq!(item["state"], "STATE_READY", "{item}");
    }
    Ok(())
}
