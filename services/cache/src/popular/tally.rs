//! The counts of one tenant in memory.
//!
//! When all places are taken, a newcomer takes that of the wording counted least and goes on from
//! its count, noting what it may be too high by: whatever makes up more than one search in
//! [`HELD`] is then held for certain, though each of its searches might have been the first.
//!
//! Source: Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in
//! Data Streams", ICDT 2005 (Space-Saving).

use std::collections::HashMap;

use tokio::time::Instant;

use super::{Counted, HALF_LIFE, HELD, MOST_ANSWERED, MOST_SEARCHERS, Ranked};

/// What is left of a count of one after a halving still counts as one; below this it is forgotten.
const LEAST: f64 = 0.5;

struct Count {
    searches: f64,
    /// What `searches` may be too high by.
    excess: f64,
    searchers: Vec<u64>,
}

/// The counts of one tenant.
pub(super) struct Tally {
    counts: HashMap<String, Count>,
    halved: Instant,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            counts: HashMap::new(),
            halved: Instant::now(),
        }
    }
}

impl Tally {
    /// Counts what one person searched for.
    pub(super) fn add(&mut self, search: Counted) {
        if self.halved.elapsed() >= HALF_LIFE {
            self.halve();
        }
        if !self.counts.contains_key(&search.wording) {
            let excess = match self.counts.len() < HELD {
                true => 0.0,
                false => self.give_up_least(),
            };
            let count = Count {
                searches: excess,
                excess,
                searchers: Vec::new(),
            };
            self.counts.insert(search.wording.clone(), count);
        }
        if let Some(count) = self.counts.get_mut(&search.wording) {
            count.searches += f64::from(search.times);
            let known = count.searchers.contains(&search.searcher);
            if !known && count.searchers.len() < MOST_SEARCHERS {
                count.searchers.push(search.searcher);
            }
        }
    }

    fn halve(&mut self) {
        self.halved = Instant::now();
        self.counts.retain(|_, count| {
            count.searches /= 2.0;
            count.excess /= 2.0;
            count.searches >= LEAST
        });
    }

    /// Forgets the wording counted least; answers its count.
    fn give_up_least(&mut self) -> f64 {
        let least = (self.counts.iter()).min_by(|(one, a), (other, b)| {
            a.searches
                .total_cmp(&b.searches)
                .then_with(|| one.cmp(other))
        });
        let Some((wording, searches)) = least.map(|(one, count)| (one.clone(), count.searches))
        else {
            return 0.0;
        };
        self.counts.remove(&wording);
        searches
    }

    /// The wordings that at least `min_searchers` searched for, counted most first.
    pub(super) fn popular(&self, min_searchers: usize) -> Vec<Ranked> {
        let mut shown: Vec<(&String, &Count)> = (self.counts.iter())
            .filter(|(_, count)| count.searchers.len() >= min_searchers)
            .collect();
        shown.sort_unstable_by(|(one, a), (other, b)| {
            b.searches
                .total_cmp(&a.searches)
                .then_with(|| other.cmp(one))
        });
        shown.truncate(MOST_ANSWERED);
        let ranked = shown.into_iter().map(|(wording, count)| Ranked {
            wording: wording.clone(),
            searches: surely(count),
        });
        ranked.collect()
    }
}

/// Searches that were counted for certain.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn surely(count: &Count) -> u64 {
    (count.searches - count.excess).round_ties_even().max(1.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(wording: &str, searcher: u64) -> Counted {
        Counted {
            wording: wording.to_owned(),
            searcher,
            times: 1,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn counts_are_halved_every_week_and_what_is_left_of_little_is_forgotten() {
        let mut tally = Tally::default();
        for searcher in 0..8 {
            tally.add(search("often", searcher));
        }
        tally.add(search("once", 0));
        tokio::time::advance(HALF_LIFE).await;
        tally.add(search("new", 0));
        let shown = tally.popular(1);
        let counts: Vec<(&str, u64)> = (shown.iter())
            .map(|one| (one.wording.as_str(), one.searches))
            .collect();
        assert_eq!(counts, [("often", 4), ("new", 1), ("once", 1)]);
        tokio::time::advance(HALF_LIFE).await;
        tally.add(search("new", 0));
        assert_eq!(tally.popular(1).len(), 2, "a quarter is nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_searched_for_often_stays_among_any_number_of_others() {
        let mut tally = Tally::default();
        for round in 0..HELD * 3 {
            tally.add(search(&format!("only once {round}"), 1));
            // one search in four, and the last to come
            if round > HELD && round % 4 == 0 {
                tally.add(search("rising", round as u64));
            }
        }
        assert_eq!(tally.counts.len(), HELD);
        let shown = tally.popular(3);
        let [rising] = &shown[..] else {
            panic!("{shown:?}")
        };
        assert_eq!(rising.wording, "rising");
        assert_eq!(rising.searches, (HELD as u64 * 2).div_ceil(4) - 1);
        assert_eq!(tally.popular(1).len(), MOST_ANSWERED);
    }
}
