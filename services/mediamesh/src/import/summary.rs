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
    links: u64,
    /// Files that could not be read or were refused, and why.
    problems: Vec<(PathBuf, String)>,
    bytes: u64,
    start: Option<tokio::time::Instant>,
}

impl Summary {
    pub(crate) fn new(walk: &Walk) -> Self {
        Self {
            other: walk.other,
            links: walk.links,
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
        self.lines().iter().for_each(|line| screen::say(line));
    }

    fn lines(&self) -> Vec<String> {
        let seconds = self
            .start
            .map_or(0.0, |start| start.elapsed().as_secs_f64());
        let mib = u32::try_from(self.bytes >> 10).map_or(f64::MAX, |kib| f64::from(kib) / 1024.0);
        let were = if self.duplicates == 1 { "was" } else { "were" };
        let mut lines = vec![format!(
            "imported {} ({mib:.1} MiB) in {seconds:.1} s; {} {were} already there and not stored again",
            files(self.stored.len() as u64),
            self.duplicates
        )];
        match self.other {
            0 => {}
            1 => lines.push("passed over 1 file that is no picture or film".to_owned()),
            other => lines.push(format!(
                "passed over {other} files that are no pictures or films"
            )),
        }
        match self.links {
            0 => {}
            1 => lines.push("passed over 1 link; name it to import what it leads to".to_owned()),
            links => lines.push(format!(
                "passed over {links} links; name one to import what it leads to"
            )),
        }
        if !self.problems.is_empty() {
            let count = files(self.problems.len() as u64);
            lines.push(format!("could not read {count}:"));
        }
        for (path, why) in self.problems.iter().take(NAMED) {
            lines.push(format!("  {}: {why}", path.display()));
        }
        if self.problems.len() > NAMED {
            lines.push(format!("  and {} more", self.problems.len() - NAMED));
        }
        lines
    }
}

fn files(count: u64) -> String {
    match count {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_is_not_called_files() {
        let problem = || (PathBuf::from("/p/a.jpg"), "file has no bytes".to_owned());
        let summary = |count: usize| Summary {
            stored: (0..count)
                .map(|id| (id.to_string(), PathBuf::new()))
                .collect(),
            duplicates: count as u64,
            other: count as u64,
            links: count as u64,
            problems: (0..count).map(|_| problem()).collect(),
            ..Summary::default()
        };
        assert_eq!(
            summary(1).lines(),
            [
                "imported 1 file (0.0 MiB) in 0.0 s; 1 was already there and not stored again",
                "passed over 1 file that is no picture or film",
                "passed over 1 link; name it to import what it leads to",
                "could not read 1 file:",
                "  /p/a.jpg: file has no bytes",
            ]
        );
        assert_eq!(
            summary(2).lines()[..4],
            [
                "imported 2 files (0.0 MiB) in 0.0 s; 2 were already there and not stored again",
                "passed over 2 files that are no pictures or films",
                "passed over 2 links; name one to import what it leads to",
                "could not read 2 files:",
            ]
        );
        assert_eq!(summary(0).lines().len(), 1);
    }
}
