//! Sessions that survive the end of their process, and what is stored of them.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use mediamesh_cache::RedisOptions;
use mediamesh_proto::cache::v1::Session;
use mediamesh_testkit::{Redis, redis::programs};

use crate::{
    calls::{create, delete, get, open},
    subject::{By, Subject, options, redis},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_survive_the_end_of_their_process_and_the_file_opens_none() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("sessions");
    let start = || Subject::new(RedisOptions::default(), options(), Some(dir.clone()));
    let by = By::somebody();
    let (live, ended, over);
    {
        let subject = start();
        let service = subject.direct();
        live = open(&service, &by).await;
        ended = open(&service, &by).await;
        let brief = Some(Duration::from_millis(20));
        over = create(&service, &by, Session::default(), brief)
            .await
            .unwrap();
        delete(&service, &by, &ended.0.handle).await.unwrap();
        // a second process keeps its own, and leaves the file alone
        let second = start();
        open(&second.direct(), &by).await;
        assert!(get(&second.direct(), &by, &live.1).await.is_err());
        get(&service, &by, &live.1).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let subject = start();
    let service = subject.direct();
    let found = get(&service, &by, &live.1).await.unwrap();
    assert_eq!(found.create_time, live.0.create_time);
    for (_, id) in [&ended, &over] {
        assert!(get(&service, &by, id).await.is_err());
    }
    let file = dir.join("sessions.journal");
    let bytes = std::fs::read(&file).unwrap();
    let digits: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&live.1[at..at + 2], 16).unwrap())
        .collect();
    for secret in [live.1.as_bytes(), &digits] {
        assert!(
            !bytes.windows(8).any(|part| part == &secret[..8]),
            "the file holds an id"
        );
    }
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_of_redis_opens_no_session_and_sweeps_leave_nothing() {
    let Some(programs) = programs() else { return };
    let server = Redis::start(&programs).await.unwrap();
    let subject = Subject::connected(redis(vec![server.url()], false), options()).await;
    let (service, by) = (subject.direct(), By::somebody());
    let (made, id) = open(&service, &by).await;
    let keys = server.command(&["--scan"]).unwrap();
    let mut dump = keys.clone();
    for key in keys.lines() {
        dump += &server.command(&["type", key]).unwrap();
        dump += &server.command(&["hgetall", key]).unwrap_or_default();
        dump += &server.command(&["get", key]).unwrap_or_default();
    }
    assert!(dump.contains(&made.handle), "{dump}");
    assert!(!dump.contains(&id[..8]), "{dump}");
    delete(&service, &by, &made.handle).await.unwrap();
    let left = server
        .command(&["--scan", "--pattern", "*:[uo]:*"])
        .unwrap();
    assert_eq!(left, "");
}
