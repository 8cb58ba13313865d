//! What a crash or a bad disk may leave behind.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mediamesh_vectors::{Change, Error, Filter, IndexOptions, Plan, VectorIndex};

const DIMS: usize = 8;

/// Spread over all dimensions, so that an item is its own nearest neighbour.
fn vector(key: u32) -> Vec<f32> {
    (0..DIMS as u32)
        .map(|i| {
            let mixed = (key * 31 + i + 1).wrapping_mul(0x9E37_79B9);
            // Twice, since one multiplication leaves all keys on one curve.
            let mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x85EB_CA6B);
            f32::from((mixed >> 16) as u16) - 32_768.0
        })
        .collect()
}

fn fill(index: &VectorIndex, seq: u64, keys: std::ops::Range<u32>) {
    let vectors: Vec<_> = keys.map(|key| (key, vector(key))).collect();
    let changes: Vec<_> = vectors
        .iter()
        .map(|(key, vector)| Change::Upsert { key: *key, vector })
        .collect();
    index.apply(seq, &changes).unwrap();
}

fn open(dir: &Path) -> VectorIndex {
    VectorIndex::open(dir, IndexOptions::new(DIMS)).unwrap()
}

fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    found.retain(|path| path.to_str().unwrap().ends_with(suffix));
    found.sort();
    found
}

#[test]
fn a_snapshot_brings_back_every_item_and_replay_goes_on_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    fill(&index, 7, 0..1_500);
    index.apply(9, &[Change::Remove { key: 3 }]).unwrap();
    let info = index.snapshot().unwrap();
    assert!(info.written && info.applied_seq == 9 && info.items == 1_499);
    assert!(!index.snapshot().unwrap().written, "nothing has changed");
    let before = index
        .search(&vector(70), 20, Filter::All)
        .unwrap()
        .neighbors;
    drop(index);

    let index = open(dir.path());
    assert_eq!((index.applied_seq(), index.len()), (9, 1_499));
    assert!(index.get(3).is_none());
    assert_eq!(
        index
            .search(&vector(70), 20, Filter::All)
            .unwrap()
            .neighbors,
        before
    );
    fill(&index, 9, 5_000..5_001);
    assert_eq!(index.len(), 1_499, "already applied");
    fill(&index, 10, 5_000..5_001);
    assert_eq!(
        index
            .search(&vector(5_000), 1, Filter::All)
            .unwrap()
            .neighbors[0]
            .key,
        5_000
    );
}

#[test]
fn a_saved_graph_is_used_at_once_and_a_damaged_one_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let options = IndexOptions {
        exact_max_candidates: 100,
        graph_min_items: 1_000,
        ..IndexOptions::new(DIMS)
    };
    let index = VectorIndex::open(dir.path(), options.clone()).unwrap();
    fill(&index, 1, 0..2_000);
    assert!(index.wait_for_graph(Duration::from_secs(60)));
    assert!(index.snapshot().unwrap().graph_bytes > 0);
    drop(index);

    let index = VectorIndex::open(dir.path(), options.clone()).unwrap();
    fill(&index, 2, 2_000..2_050);
    index.apply(3, &[Change::Remove { key: 42 }]).unwrap();
    assert!(index.wait_for_graph(Duration::from_secs(60)));
    let answer = index.search(&vector(42), 10, Filter::All).unwrap();
    assert_eq!(answer.plan, Plan::Graph);
    assert!(answer.neighbors.iter().all(|n| n.key != 42));
    drop(index);

    let graph = &files(dir.path(), ".hnsw")[0];
    let mut bytes = fs::read(graph).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(graph, bytes).unwrap();
    let index = VectorIndex::open(dir.path(), options).unwrap();
    assert_eq!(index.len(), 2_000);
    assert!(index.wait_for_graph(Duration::from_secs(60)));
    assert_eq!(
        index.search(&vector(42), 1, Filter::All).unwrap().plan,
        Plan::Graph
    );
}

#[test]
fn a_truncated_snapshot_is_refused_wherever_it_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    fill(&index, 7, 0..50);
    index.snapshot().unwrap();
    drop(index);
    let path = &files(dir.path(), ".mmv")[0];
    let whole = fs::read(path).unwrap();
    for cut in (0..whole.len())
        .step_by(37)
        .chain([63, 64, 65, whole.len() - 1])
    {
        fs::write(path, &whole[..cut]).unwrap();
        let index = open(dir.path());
        assert_eq!((index.applied_seq(), index.len()), (0, 0), "cut at {cut}");
    }
    let longer = [whole.as_slice(), &[0]].concat();
    fs::write(path, longer).unwrap();
    assert_eq!(open(dir.path()).applied_seq(), 0);
    fs::write(path, &whole).unwrap();
    assert_eq!(open(dir.path()).applied_seq(), 7);
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    fill(&index, 7, 0..40);
    index.snapshot().unwrap();
    drop(index);
    let path = &files(dir.path(), ".mmv")[0];
    let whole = fs::read(path).unwrap();
    for at in (0..64)
        .chain((64..whole.len()).step_by(13))
        .chain([whole.len() - 1])
    {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(path, bytes).unwrap();
        assert_eq!(open(dir.path()).applied_seq(), 0, "byte {at}");
    }
}

#[test]
fn a_damaged_newest_snapshot_falls_back_to_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    for seq in 1..=4 {
        fill(&index, seq, 0..seq as u32 * 10);
        index.snapshot().unwrap();
    }
    drop(index);
    let kept = files(dir.path(), ".mmv");
    assert_eq!(kept.len(), 2);
    fs::write(&kept[1], b"mmvector and then nothing").unwrap();
    let index = open(dir.path());
    assert_eq!((index.applied_seq(), index.len()), (3, 30));
}

#[test]
fn a_crash_between_write_and_rename_leaves_the_old_snapshot_and_no_litter() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    fill(&index, 1, 0..10);
    index.snapshot().unwrap();
    drop(index);
    // A whole file of a later state, and half of one, that never got their names.
    let done = fs::read(&files(dir.path(), ".mmv")[0]).unwrap();
    fs::write(dir.path().join("vectors-00000000000000000002.tmp"), &done).unwrap();
    fs::write(dir.path().join("graph.tmp"), &done[..100]).unwrap();
    let index = open(dir.path());
    assert_eq!((index.applied_seq(), index.len()), (1, 10));
    assert!(files(dir.path(), ".tmp").is_empty());
}

#[test]
fn a_snapshot_of_another_model_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    fill(&index, 1, 0..10);
    index.snapshot().unwrap();
    drop(index);
    let index = VectorIndex::open(dir.path(), IndexOptions::new(DIMS * 2)).unwrap();
    assert_eq!((index.applied_seq(), index.len()), (0, 0));
}

#[test]
fn an_index_in_memory_cannot_be_written() {
    let index = VectorIndex::in_memory(IndexOptions::new(DIMS)).unwrap();
    assert!(matches!(index.snapshot(), Err(Error::NoDirectory)));
}
