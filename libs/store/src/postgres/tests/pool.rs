//! The pool has its least and most connections, and whoever waits for one is as patient as told.

use std::time::Duration;

use diesel::sql_query;
use diesel_async::RunQueryDsl as _;
use futures::FutureExt as _;
use tokio::time::Instant;

use super::*;
use crate::Error;

tokio::task_local! {
    static NOBODY_WAITS: ();
}

async fn sleep(database: &Database, statement: &'static str) -> Result<usize, Error> {
    database
        .read("test", move |conn| {
            async move { Ok(sql_query(statement).execute(conn).await?) }.boxed()
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_has_no_more_connections_than_told_and_each_waits_as_long_as_it_may() {
    let Some(test) = TestDatabase::create().await.unwrap() else {
        return;
    };
    let mut options = DatabaseOptions::at(test.url());
    options.min_connections = 2;
    options.max_connections = 3;
    options.acquire_timeout = Duration::from_secs(1);
    options.background_acquire_timeout = Duration::from_secs(3);
    options.is_background = || NOBODY_WAITS.try_with(|()| ()).is_ok();
    let database = Database::open(options).await.unwrap();
    let status = || database.pools().status()[0];
    assert_eq!((status().open, status().max), (2, 3));

    let holders = (0..3).map(|_| {
        let database = database.clone();
        tokio::spawn(async move { sleep(&database, "SELECT pg_sleep(4.5)").await })
    });
    let holders: Vec<_> = holders.collect();
    while status().in_use() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let wait = async || {
        let start = Instant::now();
        let refused = sleep(&database, "SELECT 1").await;
        let Err(Error::PoolExhausted { waited_secs }) = refused else {
            panic!("{refused:?}");
        };
        (waited_secs, start.elapsed().as_secs())
    };
    let (of_somebody, of_nobody) = tokio::join!(wait(), NOBODY_WAITS.scope((), wait()));
    assert_eq!((of_somebody, of_nobody), ((1, 1), (3, 3)));
    assert_eq!(status().open, 3);
    for holder in holders {
        holder.await.unwrap().unwrap();
    }
    sleep(&database, "SELECT 1").await.unwrap();
}
