//! Samples of the metrics, read from their text.

use std::collections::{BTreeMap, BTreeSet};

/// One value.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

impl Sample {
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name).map(String::as_str)
    }

    fn has(&self, labels: &[(&str, &str)]) -> bool {
        let mut wanted = labels.iter();
        wanted.all(|(name, value)| self.label(name) == Some(value))
    }
}

/// All values at one moment, by name.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(BTreeMap<String, Vec<Sample>>);

impl Samples {
    /// Reads OpenMetrics text; lines that are none are passed over.
    pub(super) fn read(text: &str) -> Self {
        let mut samples = Self::default();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        for (name, sample) in lines.filter_map(line) {
            samples.0.entry(name.to_owned()).or_default().push(sample);
        }
        samples
    }

    /// What was added since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        for (name, samples) in &mut since.0 {
            let Some(before) = earlier.0.get(name) else {
                continue;
            };
            let before: BTreeMap<_, f64> = before
                .iter()
                .map(|sample| (&sample.labels, sample.value))
                .collect();
            for sample in samples {
                let before = before.get(&sample.labels).copied().unwrap_or_default();
                sample.value = (sample.value - before).max(0.0);
            }
        }
        since
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Samples of a name with these labels.
    pub(super) fn of(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Sample> {
        let samples = self.0.get(name).into_iter().flatten();
        samples.filter(move |sample| sample.has(labels))
    }

    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|sample| sample.value).sum()
    }

    /// The different values that some labels have.
    pub(super) fn groups(
        &self,
        name: &str,
        by: &[&str],
        only: &[(&str, &str)],
    ) -> Vec<Vec<String>> {
        let values = |sample: &Sample| -> Vec<String> {
            let label = |name: &&str| sample.label(name).unwrap_or_default().to_owned();
            by.iter().map(label).collect()
        };
        let groups: BTreeSet<Vec<String>> = self.of(name, only).map(values).collect();
        groups.into_iter().collect()
    }

    /// Upper bounds of a histogram and how many are at or below each, over all series with these labels.
    pub(super) fn buckets(&self, histogram: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for sample in self.of(&format!("{histogram}_bucket"), labels) {
            let bound = match sample.label("le") {
                Some("+Inf") => f64::INFINITY,
                Some(bound) => bound.parse().unwrap_or(f64::INFINITY),
                None => continue,
            };
            match buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, count)) => *count += sample.value,
                None => buckets.push((bound, sample.value)),
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }
}

/// The value below which `share` of a histogram lies; what lies beyond the last bound is at that bound.
///
/// Source: `histogram_quantile` of Prometheus.
pub(super) fn quantile(buckets: &[(f64, f64)], share: f64) -> f64 {
    let all = buckets.last().map_or(0.0, |(_, count)| *count);
    let rank = all * share;
    let (mut lower, mut below) = (0.0, 0.0);
    if all > 0.0 {
        for (bound, count) in buckets {
            if *count >= rank {
                let within = count - below;
                return match bound.is_finite() && within > 0.0 {
                    true => lower + (bound - lower) * (rank - below) / within,
                    false => lower,
                };
            }
            (lower, below) = (*bound, *count);
        }
    }
    0.0
}

/// A line: `name{label="value",...} value`, and perhaps an exemplar, which is not read.
fn line(line: &str) -> Option<(&str, Sample)> {
    let (name, rest) = match line.find(['{', ' '])? {
        at if line.as_bytes()[at] == b'{' => (&line[..at], &line[at + 1..]),
        at => {
            let value = line[at..].split_whitespace().next()?.parse().ok()?;
            let labels = BTreeMap::new();
            return Some((&line[..at], Sample { labels, value }));
        }
    };
    let (labels, rest) = labels(rest)?;
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name, Sample { labels, value }))
}

/// Labels up to the closing bracket, and what follows it.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (mut value, mut letters) = (String::new(), quoted.char_indices());
        rest = loop {
            match letters.next()? {
                (at, '"') => break &quoted[at + 1..],
                (_, '\\') => value.push(match letters.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, letter) => value.push(letter),
            }
        };
        labels.insert(name.to_owned(), value);
    }
}
