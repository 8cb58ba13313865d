//! Four real processes on one Redis: this program, started again.

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use mediamesh_proto::{TenantId, time::now_micros};
use mediamesh_testkit::{Redis, redis::programs};
use tokio::time::sleep;

use crate::{
    subject::{Subject, redis},
    suite,
};

const PROCESSES: usize = 4;
const RACERS: usize = 100;
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Time for the processes to start, and for one race.
const START: Duration = Duration::from_secs(3);
const RACE: Duration = Duration::from_secs(1);

/// How the parent tells its children what to do: address, prefix, tenant, when to start.
const TASK: &str = "MEDIAMESH_TEST_RACE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_racers_in_four_processes_compute_each_key_once() {
    let Some(programs) = programs() else { return };
    let server = Redis::start(&programs).await.unwrap();
    let options = redis(vec![server.url()], false);
    let start = now_micros() + i64::try_from(START.as_micros()).unwrap();
    let task = format!(
        "{} {} {} {start}",
        options.urls[0],
        options.prefix,
        TenantId::generate()
    );
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["processes::child", "--exact", "--ignored", "--nocapture"])
                .env(TASK, &task)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut computed = [0; KEYS.len()];
    for child in children {
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}");
        let mut lines = 0;
        for line in text.lines() {
            // the test harness writes before the first line of ours without an end
            let Some((_, counts)) = line.split_once("computed ") else {
                continue;
            };
            let (key, count) = counts.split_once(' ').unwrap();
            computed[key.parse::<usize>().unwrap()] += count.parse::<usize>().unwrap();
            lines += 1;
        }
        assert_eq!(lines, KEYS.len(), "{text}");
    }
    assert_eq!(computed, [1; KEYS.len()]);
}

/// One of the processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "started by the test above"]
async fn child() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let [url, prefix, tenant, start] = task.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{task}")
    };
    let mut options = redis(vec![url.to_owned()], false);
    prefix.clone_into(&mut options.prefix);
    let (tenant, start) = (tenant.parse().unwrap(), start.parse::<i64>().unwrap());
    let subject = Subject::connected(options).await;
    let caches = [Arc::new(subject.direct())];
    for (round, key) in KEYS.into_iter().enumerate() {
        let due =
            start + i64::try_from((RACE * u32::try_from(round).unwrap()).as_micros()).unwrap();
        let wait =
            u64::try_from(due - now_micros()).expect("the machine is too slow for this test");
        sleep(Duration::from_micros(wait)).await;
        let computed = suite::race(&caches, tenant, key, RACERS / PROCESSES).await;
        println!("computed {round} {computed}");
    }
}
