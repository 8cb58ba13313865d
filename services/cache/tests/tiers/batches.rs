//! How often Redis is asked for many keys, and what a cluster does meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mediamesh_cache::RedisOptions;
use mediamesh_testkit::{Proxy, Redis, RedisCluster, redis::programs};
use tokio::time::Instant;

use crate::{
    many::{get_many, names, set_many},
    subject::{Subject, redis, tenant},
    suite::invalidate,
};

const MANY: usize = 100;
/// Time that an answer takes; far more than all the work of a busy machine.
const ROUND_TRIP: Duration = Duration::from_millis(400);

/// How many answers `work` waited for, one after the other.
async fn round_trips<T>(work: impl Future<Output = T>) -> (u128, T) {
    let began = Instant::now();
    let answer = work.await;
    (began.elapsed().as_millis() / ROUND_TRIP.as_millis(), answer)
}

/// A hundred entries are written, read and removed by two services that are far away from Redis.
async fn a_hundred_take_one_round_trip(options: RedisOptions, proxies: &[Proxy]) {
    let options = RedisOptions {
        timeout_millis: 10_000,
        ..options
    };
    let writer = Subject::connected(options.clone()).await;
    let reader = Subject::connected(options).await;
    let (near, far) = (writer.direct(), reader.direct());
    // every connection is there, and every script is known
    set_many(&near, tenant(1), ("first", MANY), &["t"]).await;
    get_many(&far, tenant(1), ("first", MANY)).await;
    invalidate(&near, tenant(1), &[], &["t"], "").await;
    for proxy in proxies {
        proxy.delay(ROUND_TRIP / 2);
    }
    let (trips, ()) = round_trips(set_many(&near, tenant(1), ("k", MANY), &[])).await;
    assert_eq!(trips, 2, "the entries, then the feed");
    let (trips, ()) = round_trips(set_many(&near, tenant(1), ("t", MANY), &["t"])).await;
    assert_eq!(trips, 3, "their names under the tag before");
    let (trips, found) = round_trips(get_many(&far, tenant(1), ("k", MANY))).await;
    assert_eq!((trips, found), (1, vec![true; MANY]));
    let names = names("k", MANY);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (trips, removed) = round_trips(invalidate(&near, tenant(1), &names, &[], "")).await;
    assert_eq!((trips, removed), (2, 100), "the entries, then the feed");
    let (trips, removed) = round_trips(invalidate(&near, tenant(1), &[], &["t"], "")).await;
    assert_eq!((trips, removed), (4, 100), "names, entries, names, feed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_one_round_trip_to_redis() {
    let Some(programs) = programs() else { return };
    let server = Redis::start(&programs).await.unwrap();
    let proxy = Proxy::start(server.address()).await.unwrap();
    let options = redis(vec![format!("redis://{}", proxy.address())], false);
    a_hundred_take_one_round_trip(options, &[proxy]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_one_round_trip_to_all_masters_of_a_cluster_at_once() {
    let Some(programs) = programs() else { return };
    let cluster = RedisCluster::start(&programs).await.unwrap();
    let (proxies, urls) = far_away(&cluster).await;
    a_hundred_take_one_round_trip(redis(urls, true), &proxies).await;
}

/// Puts a proxy in front of every node, which from then on says that it is found there.
async fn far_away(cluster: &RedisCluster) -> (Vec<Proxy>, Vec<String>) {
    let mut proxies = Vec::new();
    for (index, mut address) in cluster.addresses().into_iter().enumerate() {
        let node = address;
        address.set_port(node.port() + 1);
        let proxy = Proxy::bind(address, node).await.unwrap();
        let port = address.port().to_string();
        let bus = (node.port() + 10_000).to_string();
        for (name, value) in [
            ("cluster-announce-bus-port", &bus),
            ("cluster-announce-port", &port),
        ] {
            let set = ["config", "set", name, value];
            cluster.command(index, &set).unwrap();
        }
        proxies.push(proxy);
    }
    let began = Instant::now();
    for index in 0..proxies.len() {
        loop {
            let slots = cluster.command(index, &["cluster", "slots"]).unwrap();
            let old = cluster.addresses();
            let is_old = |line: &str| {
                let port = line.trim().parse::<u16>();
                port.is_ok_and(|port| old.iter().any(|node| node.port() == port))
            };
            if !slots.lines().any(is_old) {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{slots}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let urls = proxies
        .iter()
        .map(|proxy| format!("redis://{}", proxy.address()));
    let urls = urls.collect();
    (proxies, urls)
}

/// Reads from sockets that every master did, and the calls of `command` that it was asked for.
fn work(cluster: &RedisCluster, command: &str) -> Vec<[u64; 2]> {
    let figure = |text: &str, name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let digits = line
            .unwrap_or("0")
            .split(|sign: char| !sign.is_ascii_digit());
        digits.into_iter().next().unwrap().parse().unwrap()
    };
    let stats = cluster.on_masters(&["info", "everything"]).unwrap();
    let calls = format!("cmdstat_{command}:calls=");
    (stats.iter())
        .map(|text| [figure(text, "total_reads_processed:"), figure(text, &calls)])
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_of_a_cluster_is_sent_what_it_has_in_one_piece() {
    let Some(programs) = programs() else { return };
    let cluster = RedisCluster::start(&programs).await.unwrap();
    let options = redis(cluster.urls(), true);
    let writer = Subject::connected(options.clone()).await;
    set_many(&writer.direct(), tenant(1), ("k", MANY), &[]).await;
    let reader = Subject::connected(options).await;
    let before = work(&cluster, "get");
    let found = get_many(&reader.direct(), tenant(1), ("k", MANY)).await;
    let after = work(&cluster, "get");
    assert_eq!(found, [true; MANY]);
    let mut asked = 0;
    for (before, after) in std::iter::zip(before, after) {
        // beside the batch: the commands of this test, signs of life, and the feed
        assert!(after[0] - before[0] <= 12, "{} reads", after[0] - before[0]);
        asked += after[1] - before[1];
    }
    assert_eq!(asked, MANY as u64, "every key is asked for once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_go_on_while_slots_move_from_one_master_to_another() {
    let Some(programs) = programs() else { return };
    let cluster = Arc::new(RedisCluster::start(&programs).await.unwrap());
    let options = redis(cluster.urls(), true);
    let writer = Subject::connected(options.clone()).await;
    let cache = writer.direct();
    set_many(&cache, tenant(1), ("before", 1000), &["t"]).await;
    let moved = Arc::new(AtomicBool::new(false));
    let move_slots = {
        let (cluster, moved) = (Arc::clone(&cluster), Arc::clone(&moved));
        tokio::task::spawn_blocking(move || {
            let outcome = cluster.reshard(1500);
            moved.store(true, Ordering::SeqCst);
            outcome
        })
    };
    let (mut rounds, mut read) = (0, 0);
    while !moved.load(Ordering::SeqCst) || rounds < 3 {
        let prefix = format!("during{rounds}:");
        let began = Instant::now();
        set_many(&cache, tenant(1), (&prefix, MANY), &["t"]).await;
        // a service that has nothing in memory
        let other = Subject::connected(options.clone()).await;
        let found = get_many(&other.direct(), tenant(1), (&prefix, MANY)).await;
        read += found.into_iter().filter(|found| *found).count();
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{:?}",
            began.elapsed()
        );
        rounds += 1;
    }
    move_slots.await.unwrap().unwrap();
    println!(
        "{read} of {} read in {rounds} rounds while slots moved",
        rounds * MANY
    );
    assert!(read >= rounds * MANY / 2, "{read} of {}", rounds * MANY);
    writer.is_connected(true).await;
    let other = Subject::connected(options).await;
    let found = get_many(&other.direct(), tenant(1), ("before", 1000)).await;
    let found = found.into_iter().filter(|found| *found).count();
    assert!(found >= 990, "{found} of 1000 outlast the move");
    set_many(&cache, tenant(1), ("after", 1000), &["t"]).await;
    let found = get_many(&other.direct(), tenant(1), ("after", 1000)).await;
    assert_eq!(found, [true; 1000]);
    let names = names("after", 1000);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(invalidate(&cache, tenant(1), &names, &[], "").await, 1000);
    let errors = writer.metrics.encode();
    let errors: Vec<&str> = (errors.lines())
        .filter(|line| line.starts_with("mediamesh_cache_redis_errors_total{"))
        .collect();
    println!("{errors:#?}");
}
