use super::{STRANGER, TENANT, store};
use crate::{
    HistoryStore as _,
    history::{NewSearch, PastSearch},
};

const USER: &str = "key:one";
const OTHER: &str = "key:other";

fn search(subject: &str, query: &str, search_time: i64) -> NewSearch {
    NewSearch {
        subject: subject.to_owned(),
        wording: query.to_lowercase(),
        query: query.to_owned(),
        searches: 1,
        search_time,
    }
}

fn wordings(searches: &[PastSearch]) -> Vec<&str> {
    searches.iter().map(|one| one.wording.as_str()).collect()
}

#[tokio::test]
async fn a_wording_is_one_row_that_counts_and_remembers_its_last_time() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let searches = vec![
        search(USER, "Red Car", 2),
        search(USER, "beach", 1),
        search(USER, "red car", 3),
    ];
    store.note_searches(TENANT, searches, 10).await.unwrap();
    let again = vec![NewSearch {
        searches: 5,
        ..search(USER, "RED car", 4)
    }];
    store.note_searches(TENANT, again, 10).await.unwrap();
    let found = store.past_searches(TENANT, USER, None, 10).await.unwrap();
    let [car, beach] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(
        (car.wording.as_str(), car.query.as_str()),
        ("red car", "RED car")
    );
    assert_eq!((car.searches, car.search_time), (7, 4));
    assert_eq!((beach.searches, beach.search_time), (1, 1));
}

#[tokio::test]
async fn nobody_sees_or_removes_what_another_user_or_tenant_searched_for() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let searches = vec![search(USER, "mine", 1), search(OTHER, "theirs", 1)];
    store.note_searches(TENANT, searches, 10).await.unwrap();
    let strange = vec![search(USER, "strange", 1)];
    store.note_searches(STRANGER, strange, 10).await.unwrap();
    let found = store.past_searches(TENANT, USER, None, 10).await.unwrap();
    assert_eq!(wordings(&found), ["mine"]);
    let found = store
        .past_searches_like(TENANT, USER, "", 10)
        .await
        .unwrap();
    assert_eq!(wordings(&found), ["mine"]);
    let all = store.recent_searches(TENANT, 10).await.unwrap();
    assert_eq!(all.len(), 2);
    assert!(all.contains(&search(OTHER, "theirs", 1)), "{all:?}");
    assert_eq!(store.recent_searches(TENANT, 1).await.unwrap().len(), 1);
    for wording in [Some("mine"), None] {
        let removed = store.forget_searches(STRANGER, OTHER, wording).await;
        assert_eq!(removed.unwrap(), 0);
    }
    let removed = store.forget_searches(TENANT, USER, Some("theirs")).await;
    assert_eq!(removed.unwrap(), 0);
    assert_eq!(store.forget_searches(TENANT, USER, None).await.unwrap(), 1);
    let found = store.past_searches(TENANT, OTHER, None, 10).await.unwrap();
    assert_eq!(wordings(&found), ["theirs"]);
    let found = store.past_searches(STRANGER, USER, None, 10).await.unwrap();
    assert_eq!(wordings(&found), ["strange"]);
}

#[tokio::test]
async fn past_searches_are_paged_newest_first_and_found_by_how_they_start() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    let texts = ["sun", "sunset beach", "söder", "s%", "s_x", "the sun", "ß"];
    let searches = (0_i64..)
        .zip(texts)
        .map(|(n, text)| search(USER, text, n / 2));
    let searches = searches.collect();
    store.note_searches(TENANT, searches, 100).await.unwrap();
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.past_searches(TENANT, USER, after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.search_time, last.wording.clone()));
        all.extend(page);
    }
    assert_eq!(all.len(), texts.len());
    assert!(all.is_sorted_by(|a, b| a.search_time >= b.search_time));
    for (prefix, expected) in [
        ("sun", &["sunset beach", "sun"][..]),
        ("s%", &["s%"]),
        ("s_", &["s_x"]),
        ("sö", &["söder"]),
        ("ß", &["ß"]),
        ("sunk", &[]),
    ] {
        let found = store.past_searches_like(TENANT, USER, prefix, 10).await;
        let mut found = found.unwrap();
        found.sort_by_key(|one| std::cmp::Reverse(one.wording.len()));
        assert_eq!(wordings(&found), expected, "{prefix}");
    }
    let found = store
        .past_searches_like(TENANT, USER, "s", 1)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn a_user_keeps_the_newest_and_what_is_old_goes_for_all() {
    let Some((_dir, store)) = store().await else {
        return;
    };
    for round in 0..3 {
        let searches = (0..4).map(|n| search(USER, &format!("{round}-{n}"), round));
        let searches = searches.collect();
        store.note_searches(TENANT, searches, 5).await.unwrap();
    }
    let kept = store.past_searches(TENANT, USER, None, 100).await.unwrap();
    assert_eq!(wordings(&kept), ["2-3", "2-2", "2-1", "2-0", "1-3"]);
    let strange = vec![search(USER, "old", 1), search(USER, "new", 9)];
    store.note_searches(STRANGER, strange, 5).await.unwrap();
    assert_eq!(store.sweep_searches(2, 1).await.unwrap(), 2);
    assert_eq!(store.sweep_searches(2, 1000).await.unwrap(), 0);
    let kept = store.past_searches(TENANT, USER, None, 100).await.unwrap();
    assert_eq!(kept.len(), 4);
    let kept = store
        .past_searches(STRANGER, USER, None, 100)
        .await
        .unwrap();
    assert_eq!(wordings(&kept), ["new"]);
}
