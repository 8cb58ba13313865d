//! What went in, what was there already, and what could not be read and why.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    screen,
    send::Outcome,
    walk::{Found, Walk},
};

/// Files named in the summary; the rest is counted.
const NAMED: usize = 50;

/// The outcome of an import.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    stored: BTreeMap<String, PathBuf>,
    duplicates: u64,
    other: u64,
    /// Files that could not be read or were refused, and why.
    problems: Vec<(PathBuf, String)>,
    bytes: u64,
    start: Option<tokio::time::Instant>,
}

impl Summary {
    pub(crate) fn new(walk: &Walk) -> Self {
        Self {
            other: walk.other,
            problems: walk.unreadable.clone(),
            start: Some(tokio::time::Instant::now()),
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, file: Found, outcome: Outcome) {
        match outcome {
            Outcome::Stored(id) => {
                self.bytes += file.size;
                self.stored.insert(id, file.path);
            }
            Outcome::Duplicate(failure) => {
                self.duplicates += 1;
                if let Some(why) = failure {
                    self.problems
                        .push((file.path, format!("stored before, but {why}")));
                }
            }
            Outcome::Refused(why) => self.problems.push((file.path, why)),
            Outcome::Gone(status) => self.problems.push((file.path, status.message().to_owned())),
        }
    }

    /// Ids of what was stored.
    pub(crate) fn stored_ids(&self) -> impl Iterator<Item = &str> {
        self.stored.keys().map(String::as_str)
    }

    /// A stored file turned out unreadable; the original is kept.
    pub(crate) fn failed(&mut self, id: &str, why: String) {
        if let Some(path) = self.stored.get(id) {
            self.problems
                .push((path.clone(), format!("stored, but {why}")));
        }
    }

    /// Whether there were files and every one of them failed.
    pub(crate) fn is_failure(&self) -> bool {
        !self.problems.is_empty() && self.stored.is_empty() && self.duplicates == 0
    }

    /// Says it to people.
    pub(crate) fn print(&self) {
        let seconds = self
            .start
            .map_or(0.0, |start| start.elapsed().as_secs_f64());
        let mib = u32::try_from(self.bytes >> 10).map_or(f64::MAX, |kib| f64::from(kib) / 1024.0);
        screen::say(&format!(
            "imported {} files ({mib:.1} MiB) in {seconds:.1} s; {} were already there and not stored again",
            self.stored.len(),
            self.duplicates
        ));
        if self.other > 0 {
            screen::say(&format!(
                "passed over {} files that are no pictures or films",
                self.other
            ));
        }
        if !self.problems.is_empty() {
            screen::say(&format!("could not read {} files:", self.problems.len()));
        }
        for (path, why) in self.problems.iter().take(NAMED) {
            screen::say(&format!("  {}: {why}", path.display()));
        }
        if self.problems.len() > NAMED {
            screen::say(&format!("  and {} more", self.problems.len() - NAMED));
        }
    }
}
