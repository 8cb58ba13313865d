//! How far a replica is behind, in time, by positions of the primary's log alone: the clocks of the two
//! are not compared, and a primary that writes nothing makes no replica look late.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Positions of the primary, and when it was there.
#[derive(Debug)]
pub(super) struct Marks {
    /// Oldest first; both rise.
    marks: VecDeque<(Instant, u64)>,
    keep: Duration,
}

impl Marks {
    /// Keeps in mind what was up to `keep` ago.
    pub(super) fn new(keep: Duration) -> Self {
        Self {
            marks: VecDeque::new(),
            keep,
        }
    }

    /// The age of what the replica has, which is at `reached` while the primary was at `mark` at the
    /// moment `asked`; `None` if that is older than is kept in mind.
    pub(super) fn lag(
        &mut self,
        asked: Instant,
        mark: u64,
        reached: u64,
        now: Instant,
    ) -> Option<Duration> {
        match self.marks.back_mut() {
            // nothing was written since
            Some((at, last)) if *last == mark => *at = asked,
            // another server took the primary's place
            Some((_, last)) if *last > mark => {
                self.marks.clear();
                self.marks.push_back((asked, mark));
            }
            _ => self.marks.push_back((asked, mark)),
        }
        // of those that it has, the newest
        while self.marks.get(1).is_some_and(|(_, mark)| *mark <= reached) {
            self.marks.pop_front();
        }
        while self.marks.len() > 1
            && self
                .marks
                .front()
                .is_some_and(|(at, _)| now - *at > self.keep)
        {
            self.marks.pop_front();
        }
        let (at, mark) = self.marks.front()?;
        match (*mark <= reached, self.marks.len()) {
            (true, 1) => Some(Duration::ZERO),
            (true, _) => Some(now - *at),
            (false, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_the_age_of_the_newest_position_that_was_reached() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut marks = Marks::new(Duration::from_secs(10));
        let mut lag = |secs, mark, reached| {
            let lag = marks.lag(at(secs), mark, reached, at(secs));
            lag.map(|lag| lag.as_secs())
        };
        assert_eq!(lag(0, 100, 50), None, "nothing that was seen is there");
        assert_eq!(lag(1, 100, 100), Some(0));
        assert_eq!(lag(9, 100, 100), Some(0), "nothing is written");
        assert_eq!(lag(10, 200, 150), Some(1));
        assert_eq!(lag(12, 300, 199), Some(3));
        assert_eq!(lag(13, 400, 200), Some(3));
        assert_eq!(lag(14, 400, 400), Some(0));
        assert_eq!(lag(40, 500, 400), None, "longer ago than is kept in mind");
        assert_eq!(lag(41, 10, 10), Some(0), "another primary");
    }
}
