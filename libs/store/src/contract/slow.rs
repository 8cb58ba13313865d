use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::*;
use crate::{
    JobStore as _, SearchStore as _,
    media::ListQuery,
    search::{Filter, TextDepth},
    slow::{SlowOptions, SlowStatement},
};

/// A word that is in no statement of ours.
const SECRET: &str = "zanzibar";

type Told = Arc<Mutex<Vec<SlowStatement>>>;

fn options(threshold: Duration) -> (SlowOptions, Told) {
    let told = Told::default();
    let heard = Arc::clone(&told);
    let observer = move |slow: &SlowStatement| heard.lock().push(slow.clone());
    let options = SlowOptions {
        threshold,
        observer: Some(Arc::new(observer)),
        counted: None,
    };
    (options, told)
}

/// Does a bit of everything, with a value that is known again.
async fn work(store: &Store) {
    let mut item = new_item(1, &format!("{SECRET}.jpg"));
    item.folder = format!("{SECRET}/{SECRET}");
    item.tags = vec![SECRET.to_owned()];
    item.caption = format!("all of {SECRET}");
    let item = insert(store, item).await;
    finish(store, &item, processed(10, 10)).await;
    let depth = TextDepth {
        hits: 10,
        block: 100,
    };
    let query = format!("{SECRET} caption \"all of\"");
    let everything = Filter::default();
    let found = store.full_text(TENANT, &query, &everything, depth).await;
    assert_eq!(found.unwrap().len(), 1);
    let tagged = Filter {
        tags: vec![SECRET.to_owned()],
        ..Filter::default()
    };
    store.matching_keys(TENANT, &tagged).await.unwrap();
    let query = ListQuery {
        tags: vec![SECRET.to_owned()],
        limit: 10,
        ..ListQuery::default()
    };
    store.list_items(TENANT, &query).await.unwrap();
    store.get_items(TENANT, &[item.id]).await.unwrap();
    store.queue_stats(None).await.unwrap();
    store.delete_item(TENANT, item.id, None).await.unwrap();
}

/// Statements on rows, which have a plan.
fn texts(all: &[SlowStatement]) -> std::collections::BTreeSet<String> {
    let on_rows = |slow: &&SlowStatement| {
        let verbs = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"];
        let verb = slow.statement.split_whitespace().next().unwrap();
        verbs.contains(&verb.to_uppercase().as_str()) && !slow.statement.contains(';')
    };
    let statements = all.iter().filter(on_rows);
    statements.map(|slow| slow.statement.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_statements_are_told_of_with_their_plan_and_without_a_value() {
    let (options, told) = options(Duration::ZERO);
    let Some((_guard, store)) = store_with(options).await else {
        return;
    };
    work(&store).await;
    // plans come beside the work
    let mut explained = Vec::new();
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        let now: Vec<SlowStatement> = told.lock().clone();
        let with_plan = now.iter().filter(|slow| slow.plan.is_some());
        explained = with_plan.cloned().collect();
        if explained.len() > 10 && texts(&explained) == texts(&now) {
            break;
        }
    }
    let all: Vec<SlowStatement> = told.lock().clone();
    assert!(all.len() > 20, "{} statements", all.len());
    assert!(explained.len() > 10, "{} plans", explained.len());
    let (tenant, simple) = (TENANT.to_string(), TENANT.0.simple().to_string());
    for slow in &all {
        let plan = slow.plan.as_ref().map_or("", |plan| &plan.text);
        for value in [SECRET, &tenant, &simple] {
            assert!(!slow.statement.contains(value), "{slow:?}");
            assert!(!plan.contains(value), "{slow:?}");
        }
    }
    let (known, with_plan) = (texts(&all), texts(&explained));
    let without: Vec<&String> = known.difference(&with_plan).collect();
    assert_eq!(without, Vec::<&String>::new(), "without a plan");
    let listed = explained.iter().find(|slow| slow.operation == "list_items");
    let plan = listed.expect("no plan of a list").plan.as_ref().unwrap();
    assert!(
        plan.text.contains("media_items") || plan.text.contains("SEARCH"),
        "{plan:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quick_statements_are_nobodys_business() {
    let (options, told) = options(Duration::from_secs(60));
    let Some((_guard, store)) = store_with(options).await else {
        return;
    };
    work(&store).await;
    assert_eq!(told.lock().len(), 0);
}
