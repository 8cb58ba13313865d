//! Partitions of the request log are made ahead, and taken out as a whole.

use mediamesh_proto::time::now_micros;

use super::*;
use crate::RequestLogStore as _;

const NAMES: &str = "SELECT coalesce(string_agg(c.relname, ' ' ORDER BY 1), '') FROM pg_inherits i \
     JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'request_log'::regclass";
/// Microseconds of 62 days: two months at most.
const TWO_MONTHS: i64 = 62 * 24 * 3600 * 1_000_000;

#[tokio::test]
async fn partitions_are_made_ahead_once_and_dropped_or_detached_when_they_are_over() {
    let Some((test, store)) = store().await else {
        return;
    };
    assert_eq!(
        test.psql(NAMES).await.unwrap(),
        "",
        "none before they are needed"
    );
    let races = (0..6).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.turn_request_log(0, false).await })
    });
    for raced in futures::future::join_all(races).await {
        raced.unwrap().unwrap();
    }
    let made = test.psql(NAMES).await.unwrap();
    assert_eq!(made.split(' ').count(), 4, "{made}");

    // a month of long ago, of each kind of end
    for (archive, kept) in [(false, "0"), (true, "1")] {
        let old = "CREATE TABLE request_log_200001 PARTITION OF request_log \
                   FOR VALUES FROM (946684800000000) TO (949363200000000)";
        test.psql(old).await.unwrap();
        let before = now_micros() - TWO_MONTHS;
        let taken = store.turn_request_log(before, archive).await.unwrap();
        assert_eq!(taken, ["request_log_200001"]);
        assert_eq!(test.psql(NAMES).await.unwrap(), made);
        let there = "SELECT count(*) FROM pg_class WHERE relname = 'request_log_200001'";
        assert_eq!(test.psql(there).await.unwrap(), kept);
    }
}
