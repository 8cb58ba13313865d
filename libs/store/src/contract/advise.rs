use super::*;
use crate::{Advisor as _, advise::Finding};

#[tokio::test]
async fn a_fresh_database_has_every_index_and_a_lost_one_is_found_and_made_again() {
    let Some((_guard, store)) = store().await else {
        return;
    };
    let missing = async || {
        let findings = store.findings().await.unwrap();
        let indexes = findings
            .into_iter()
            .filter(|found| found.subject.starts_with("idx_"));
        indexes.collect::<Vec<Finding>>()
    };
    assert_eq!(missing().await, Vec::new());
    let drop = |name: &str| Finding {
        subject: name.to_owned(),
        advice: String::new(),
        mend: format!("DROP INDEX {name}"),
    };
    let lost = ["idx_media_items_folder", "idx_media_items_id"];
    let dropped = store.mend(&lost.map(drop)).await;
    assert!(
        dropped.iter().all(|mended| mended.error.is_none()),
        "{dropped:?}"
    );
    let mut found = missing().await;
    let names: Vec<&str> = found
        .iter()
        .map(|finding| finding.subject.as_str())
        .collect();
    assert_eq!(names, lost);
    // one that fails keeps the others from nothing
    found.insert(
        0,
        Finding {
            mend: "CREATE INDEX x ON nowhere (y)".to_owned(),
            ..drop("x")
        },
    );
    let mended = store.mend(&found).await;
    let failed: Vec<bool> = mended.iter().map(|mended| mended.error.is_some()).collect();
    assert_eq!(failed, [true, false, false], "{mended:?}");
    assert_eq!(missing().await, Vec::new());
    // again, it does nothing
    let again = store.mend(&found[1..]).await;
    assert!(
        again.iter().all(|mended| mended.error.is_none()),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_statement_is_explained_and_none_that_writes_is_run() {
    let Some((_guard, store)) = store().await else {
        return;
    };
    let item = insert(&store, new_item(1, "a.jpg")).await;
    for (statement, run) in [
        ("SELECT * FROM media_items WHERE caption = 'x'", false),
        (
            "SELECT * FROM media_items WHERE caption = 'x' -- all of it;".trim_end_matches(';'),
            true,
        ),
        ("WITH x AS (SELECT 1 AS one) SELECT * FROM x;", true),
        ("DELETE FROM media_items", false),
    ] {
        let plan = store.explain(statement, run).await;
        let plan = plan.unwrap_or_else(|error| panic!("{statement}: {error}"));
        assert!(!plan.text.is_empty(), "{statement}");
    }
    let plan = store.explain("SELECT * FROM media_items WHERE caption = 'x'", false);
    let advice = plan.await.unwrap().advice;
    assert!(
        advice.iter().any(|advice| advice.contains("media_items")),
        "{advice:?}"
    );
    for (statement, run) in [
        ("DELETE FROM media_items", true),
        ("INSERT INTO media_tags SELECT * FROM media_tags", true),
        (
            "WITH gone AS (DELETE FROM media_items RETURNING 1) SELECT * FROM gone",
            true,
        ),
        ("SELECT 1; DELETE FROM media_items", false),
        ("SELECT 1; DELETE FROM media_items", true),
        ("DROP TABLE media_items", false),
        ("SELECT * FROM nowhere", false),
        ("", false),
    ] {
        let refused = store.explain(statement, run).await;
        let why = refused.map(|plan| plan.text).expect_err(statement);
        assert!(
            matches!(why, crate::Error::Refused { .. }),
            "{statement}: {why:?}"
        );
    }
    let left = store.get_items(TENANT, &[item.id]).await.unwrap();
    assert_eq!(left.len(), 1, "nothing was removed");
}
