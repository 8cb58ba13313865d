//! What is searched: made-up and real vectors, and what is nearest by comparing all.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use half::f16;
use mediamesh_inference::{EngineOptions, load_dir};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use roaring::RoaringBitmap;

use super::K;

/// Clusters of the made-up vectors; noise makes them overlap.
const CLUSTERS: usize = 500;
/// Shortest and longest line that counts as text, in letters.
const LINE: std::ops::RangeInclusive<usize> = 24..=400;
/// Texts that the model gets at once.
const BATCH: usize = 32;

pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) dims: usize,
    /// Of unit length and rounded to f16, as they are stored; item keys begin at 1.
    pub(crate) vectors: Vec<Vec<f32>>,
    pub(crate) queries: Vec<Vec<f32>>,
    /// Size of each item: what filters ask for. No two are the same, and none tells of the vector.
    pub(crate) sizes: Vec<i64>,
}

impl Set {
    fn new(name: &'static str, mut vectors: Vec<Vec<f32>>, queries: usize) -> Self {
        vectors.iter_mut().for_each(|vector| normalise(vector));
        let queries = vectors.split_off(vectors.len() - queries.min(vectors.len() / 10));
        let rounded = |value: &mut f32| *value = f16::from_f32(*value).to_f32();
        vectors
            .iter_mut()
            .for_each(|vector| vector.iter_mut().for_each(rounded));
        let mut sizes: Vec<i64> = (1..).take(vectors.len()).collect();
        sizes.shuffle(&mut StdRng::seed_from_u64(11));
        Self {
            name,
            dims: vectors[0].len(),
            vectors,
            queries,
            sizes,
        }
    }

    /// The least size of an item of the `percent` largest.
    pub(crate) fn least_size(&self, percent: u32) -> i64 {
        let count = self.sizes.len() as i64;
        count - count * i64::from(percent) / 100 + 1
    }

    /// Keys of the nearest of those that pass, for each query.
    pub(crate) fn truths(&self, among: Option<&RoaringBitmap>) -> Vec<Vec<u32>> {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let share = self.queries.len().div_ceil(threads);
        std::thread::scope(|scope| {
            let parts: Vec<_> = self
                .queries
                .chunks(share)
                .map(|part| {
                    scope.spawn(move || {
                        let truth = |query: &Vec<f32>| self.truth(query, among);
                        part.iter().map(truth).collect::<Vec<_>>()
                    })
                })
                .collect();
            let truths = parts.into_iter().flat_map(|part| part.join().unwrap());
            truths.collect()
        })
    }

    fn truth(&self, query: &[f32], among: Option<&RoaringBitmap>) -> Vec<u32> {
        let mut scored: Vec<(f32, u32)> = (1..)
            .zip(&self.vectors)
            .filter(|(key, _)| among.is_none_or(|among| among.contains(*key)))
            .map(|(key, vector)| (dot(vector, query), key))
            .collect();
        let last = K.min(scored.len()) - 1;
        scored.select_nth_unstable_by(last, |a, b| b.0.total_cmp(&a.0));
        scored.into_iter().take(K).map(|(_, key)| key).collect()
    }
}

/// Eight sums at once, which the compiler makes one instruction of.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for n in 0..8 {
            sums[n] += a[n] * b[n];
        }
    }
    sums.iter().sum()
}

fn normalise(vector: &mut [f32]) {
    let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|value| *value /= norm);
}

/// Vectors of 512 dims around centres, as `mediamesh bench --synthetic` makes them; queries too.
pub(crate) fn made_up(count: usize, queries: usize) -> Set {
    const DIMS: usize = 512;
    let mut random = StdRng::seed_from_u64(7);
    let mut vector = |centre: Option<&Vec<f32>>| -> Vec<f32> {
        let mut values: Vec<f32> = (0..DIMS)
            .map(|n| {
                let noise: f32 = random.random_range(-1.0..1.0);
                centre.map_or(noise, |centre| centre[n] + 0.05 * noise)
            })
            .collect();
        normalise(&mut values);
        values
    };
    let centres: Vec<Vec<f32>> = (0..CLUSTERS).map(|_| vector(None)).collect();
    let vectors = (0..count + queries).map(|n| vector(Some(&centres[n % CLUSTERS])));
    Set::new("made-up vectors", vectors.collect(), queries)
}

/// MiniLM's vectors of lines of prose; none where the model is not there.
pub(crate) fn real(most: usize, queries: usize) -> Option<Set> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = root.join(".cache/minilm");
    if dir.join("model.safetensors").metadata().is_err() {
        println!("no real embeddings: scripts/fetch_minilm.sh gets the model");
        return None;
    }
    let mut lines = HashSet::new();
    let mut texts = Vec::new();
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let sources = cargo.or(home).map(|cargo| cargo.join("registry/src"));
    for folder in [Some(root), sources].into_iter().flatten() {
        read(&folder, most + queries, &mut lines, &mut texts);
    }
    texts.shuffle(&mut StdRng::seed_from_u64(5));
    let model = load_dir(&dir, "minilm", "", &EngineOptions::default()).unwrap();
    let model = model.text.unwrap();
    // lines of one length in one batch: the others would be filled up to the longest
    texts.sort_by_key(String::len);
    let mut vectors = Vec::new();
    for batch in texts.chunks(BATCH) {
        let batch: Vec<&str> = batch.iter().map(String::as_str).collect();
        vectors.extend(model.encode_texts(&batch).unwrap());
    }
    vectors.shuffle(&mut StdRng::seed_from_u64(9));
    Some(Set::new("MiniLM, lines of prose", vectors, queries))
}

/// Adds lines of prose below a folder, up to `most`, in the order of their paths.
fn read(folder: &Path, most: usize, seen: &mut HashSet<String>, texts: &mut Vec<String>) {
    let walk = walkdir::WalkDir::new(folder).sort_by_file_name();
    let hidden = |name: &str| name.starts_with('.') || name == "target";
    let files = walk
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !hidden(&entry.file_name().to_string_lossy()));
    for entry in files.flatten() {
        let path = entry.path();
        let kind = path.extension().unwrap_or_default().to_string_lossy();
        let prose = kind == "md";
        if !prose && kind != "rs" && kind != "proto" {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(path) else {
            continue;
        };
        for line in text.lines() {
            let line = line.trim();
            let said = line.trim_start_matches(['/', '!', '*', '#', '-', '|', ' ']);
            if (prose || line.starts_with("//"))
                && LINE.contains(&said.chars().count())
                && seen.insert(said.to_owned())
            {
                texts.push(said.to_owned());
            }
            if texts.len() == most {
                return;
            }
        }
    }
}
