//! The load that was asked for (S0-48, S0-49, S0-55) on both stacks: `mediamesh load` with 200 and with 1000
//! users, against the whole mesh in one process and against five on PostgreSQL, Redis and S3.
//! `cargo bench --workspace --bench load`; needs `scripts/postgres.sh` and `scripts/redis.sh` for the second.
//!
//! Servers, mesh and users share the machine; S3 is a server over a folder, in this process.
//! `MEDIAMESH_BENCH_LOAD_SECS` is how long all users stay (60); half of that they take to come. Ends with 1 if
//! a bar is missed.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::{
    net::SocketAddr,
    process::{Command, ExitCode},
    sync::Arc,
    time::Duration,
};

use mediamesh_testkit::{Cluster, Launcher, Postgres, Redis, S3, TestDatabase, postgres, redis};

const BINARY: &str = env!("CARGO_BIN_EXE_mediamesh");
const SECONDS: &str = "MEDIAMESH_BENCH_LOAD_SECS";
const USERS: [u32; 2] = [200, 1000];
const SERVICES: [&str; 5] = ["cache", "embedding", "search", "media", "edge"];
/// Between two loads: jobs of the one before are done.
const CALM: Duration = Duration::from_secs(10);

fn seconds() -> u64 {
    let text = std::env::var(SECONDS).ok();
    text.map_or(60, |text| text.parse().unwrap())
}

/// Puts each load on an edge; whether every bar is held.
async fn bears(stack: &str, edge: SocketAddr) -> bool {
    let mut held = true;
    for users in USERS {
        println!("\n{stack}, {users} users");
        let mut load = Command::new(BINARY);
        load.env_remove(SECONDS);
        load.args(["load", "--address", &edge.to_string()])
            .args(["--users", &users.to_string()])
            .args(["--ramp", &format!("{}s", seconds() / 2)])
            .args(["--duration", &format!("{}s", seconds())]);
        let status = tokio::task::spawn_blocking(move || load.status());
        held &= status.await.unwrap().unwrap().success();
        tokio::time::sleep(CALM).await;
    }
    held
}

async fn one_process() -> bool {
    let mut launcher = Launcher::new(BINARY).unwrap();
    let mesh = launcher.start().await.unwrap();
    bears(
        "one process, SQLite, files",
        mesh.http_address().parse().unwrap(),
    )
    .await
}

async fn five_processes() -> bool {
    let Some(programs) = redis::programs() else {
        return true;
    };
    let Some(postgres) = postgres::programs() else {
        return true;
    };
    // as it is by default, and not as for tests
    let settings = ["synchronous_commit=on", "fsync=on"];
    let postgres = Arc::new(Postgres::start(&postgres, &settings).await.unwrap());
    let database = TestDatabase::create_in(&postgres).await.unwrap();
    let (redis, bucket) = (Redis::start(&programs).await.unwrap(), S3::start().unwrap());
    let mut cluster = Cluster::of(BINARY)
        .env("MEDIAMESH_DATABASE__URL", &database.url())
        .envs(bucket.env())
        .envs(redis.env());
    for name in SERVICES {
        cluster = cluster.service(name, 1);
    }
    let cluster = cluster.start().await.unwrap();
    let edge = cluster.replica("edge", 0).http_address();
    bears("five processes, PostgreSQL, Redis, S3", edge).await
}

fn main() -> ExitCode {
    // `cargo test` runs every target once: this one has nothing to test
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let held = runtime.block_on(async { [one_process().await, five_processes().await] });
    match held.iter().all(|held| *held) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
