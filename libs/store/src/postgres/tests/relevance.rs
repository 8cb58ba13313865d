//! Full text finds and ranks what the embedded database does.

use super::*;
use crate::{
    SearchStore as _,
    media::ItemPatch,
    search::{Filter, TextDepth},
    sqlite::SqliteStore,
};

/// Subjects, places and moods that make captions: some words are in many of them, some in few.
const SUBJECTS: [&str; 12] = [
    "a red boat",
    "two dogs running",
    "the old lighthouse",
    "my daughter's birthday",
    "a wedding",
    "snowy mountains",
    "red flowers",
    "a cat sleeping",
    "a crowded café",
    "the harbour at night",
    "a photographer photographing photographs",
    "Zürich main station",
];
const PLACES: [&str; 7] = [
    "on the beach",
    "in the city",
    "near the harbour",
    "by the sea",
    "at home",
    "in the Alps",
    "under the red bridge",
];
const MOODS: [&str; 5] = [
    "at sunset",
    "in winter 2024",
    "",
    "with friends and family",
    "-- blurry",
];

const QUERIES: [&str; 26] = [
    "beach ",
    "red ",
    "red boat ",
    "boat red ",
    "\"red boat\"",
    "\"boat red\" ",
    "dogs ",
    "dog ",
    "lighthouses ",
    "ligh",
    "photograph ",
    "photo",
    "cafe ",
    "CAFÉ ",
    "zurich ",
    "harbour night ",
    "\"harbour at night\" sunset ",
    "2024 ",
    "daughter s ",
    "wedding beach sunset ",
    "red bridge boat ",
    "nothing ",
    "IMG 7",
    "snow alps winter ",
    "the ",
    "family friends -dog ",
];

#[tokio::test]
async fn full_text_finds_and_ranks_what_the_embedded_database_does() {
    let Some((_test, store)) = store().await else {
        return;
    };
    let dir = tempfile::TempDir::new().unwrap();
    let options = crate::DatabaseOptions::at(dir.path().join("test.db"));
    let embedded = SqliteStore::new(crate::Database::open(options).await.unwrap());
    for n in 0..180_u8 {
        let place = usize::from(n);
        let caption = format!(
            "{} {} {}",
            SUBJECTS[place % 12],
            PLACES[place % 7],
            MOODS[place * place % 5]
        );
        let item = NewMediaItem {
            caption,
            folder: PLACES[place % 7].replace(' ', "/"),
            tags: [MOODS[place % 5], SUBJECTS[place * 5 % 12]]
                .iter()
                .filter(|tag| n % 3 == 0 && !tag.is_empty())
                .map(ToString::to_string)
                .collect(),
            ..new_item(n, &format!("IMG_{n}.jpg"))
        };
        let twin = item.clone();
        let work = job(Some(item.id));
        store.insert_item(item, work.clone()).await.unwrap();
        embedded.insert_item(twin.clone(), work).await.unwrap();
        if n % 20 == 7 {
            let patch = ItemPatch {
                caption: Some("changed to a red boat".into()),
                ..ItemPatch::default()
            };
            let changed = store.update_item(TENANT, twin.id, None, patch.clone(), None);
            changed.await.unwrap();
            let changed = embedded.update_item(TENANT, twin.id, None, patch, None);
            changed.await.unwrap();
        }
        if n % 30 == 11 {
            store.delete_item(TENANT, twin.id, None).await.unwrap();
            embedded.delete_item(TENANT, twin.id, None).await.unwrap();
        }
    }
    let depth = TextDepth {
        hits: 60,
        block: 100,
    };
    for query in QUERIES {
        let (wanted, without) = crate::search::split_unwanted(query);
        let text = if without.is_empty() { query } else { &wanted };
        let filter = Filter {
            without,
            ..Filter::default()
        };
        let ours = store.full_text(TENANT, text, &filter, depth).await.unwrap();
        let theirs = embedded
            .full_text(TENANT, text, &filter, depth)
            .await
            .unwrap();
        let keys = |hits: &[crate::search::TextHit]| -> Vec<u32> {
            hits.iter().map(|hit| hit.item_key).collect()
        };
        assert_eq!(keys(&ours), keys(&theirs), "{query:?}");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let off = (ours.score - theirs.score).abs() / theirs.score.abs().max(1e-3);
            assert!(off < 0.01, "{query:?}: {ours:?} {theirs:?}");
        }
    }
}
