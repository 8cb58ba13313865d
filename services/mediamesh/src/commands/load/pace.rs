//! When each call is due: evenly spaced at full load, and while users come as many fewer as users are not
//! there yet. The rate rises in a straight line from nothing over the ramp, so up to `t` there are
//! `rate * t^2 / (2 * ramp)` calls, and from its end on `rate` a second.

use std::time::Duration;

/// What a user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    /// Looks at a page of the list, or at an item.
    Page,
    Search,
    Upload,
}

impl Call {
    pub(super) const ALL: [Self; 3] = [Self::Page, Self::Search, Self::Upload];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Search => "search",
            Self::Upload => "upload",
        }
    }
}

/// The times of one kind of call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    rate: f64,
    ramp: f64,
    count: u64,
}

impl Pace {
    /// `rate` calls a second at full load, which is reached after `ramp` and lasts `full`.
    pub(super) fn new(rate: f64, ramp: Duration, full: Duration) -> Self {
        let ramp = ramp.as_secs_f64();
        let count = rate * (ramp / 2.0 + full.as_secs_f64());
        Self {
            rate,
            ramp,
            count: count.round() as u64,
        }
    }

    /// When call `n` is due, from 0 on; `None` if there are fewer.
    fn at(&self, n: u64) -> Option<Duration> {
        if n >= self.count {
            return None;
        }
        // in the middle of its share of the time
        let calls = n as f64 + 0.5;
        let in_ramp = self.rate * self.ramp / 2.0;
        let seconds = match calls <= in_ramp {
            true => (2.0 * self.ramp * calls / self.rate).sqrt(),
            false => self.ramp + (calls - in_ramp) / self.rate,
        };
        Some(Duration::from_secs_f64(seconds))
    }
}

/// Every call of a run, in the order of time.
#[derive(Debug, Clone)]
pub(super) struct Due {
    paces: [(Call, Pace); 3],
    next: [u64; 3],
}

impl Due {
    pub(super) fn new(paces: [(Call, Pace); 3]) -> Self {
        Self {
            paces,
            next: [0; 3],
        }
    }

    pub(super) fn calls(&self) -> u64 {
        self.paces.iter().map(|(_, pace)| pace.count).sum()
    }

    /// How many calls of a kind there are.
    pub(super) fn count_of(&self, call: Call) -> u64 {
        let of = |(kind, pace): &(Call, Pace)| (*kind == call).then_some(pace.count);
        self.paces.iter().filter_map(of).sum()
    }
}

impl Iterator for Due {
    type Item = (Duration, Call);

    fn next(&mut self) -> Option<Self::Item> {
        let nexts = self.paces.iter().zip(&self.next).enumerate();
        let (at, kind) = nexts
            .filter_map(|(kind, ((_, pace), n))| Some((pace.at(*n)?, kind)))
            .min()?;
        self.next[kind] += 1;
        Some((at, self.paces[kind].0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(ramp: u64, full: u64) -> Due {
        let pace = |rate| Pace::new(rate, Duration::from_secs(ramp), Duration::from_secs(full));
        Due::new([
            (Call::Search, pace(500.0 / 60.0)),
            (Call::Upload, pace(100.0 / 60.0)),
            (Call::Page, pace(20.0)),
        ])
    }

    #[test]
    fn calls_come_in_order_and_as_many_as_the_rates_say() {
        for (ramp, full) in [(0, 60), (60, 60), (120, 1)] {
            let due = due(ramp, full);
            let all: Vec<_> = due.clone().collect();
            assert_eq!(all.len() as u64, due.calls());
            assert!(all.is_sorted_by_key(|(at, _)| *at));
            let seconds = ramp as f64 / 2.0 + full as f64;
            let searches = (500.0 / 60.0 * seconds).round() as u64;
            assert_eq!(due.count_of(Call::Search), searches);
            let end = Duration::from_secs(ramp + full);
            assert!(all.last().is_some_and(|(at, _)| *at < end), "{all:?}");
        }
    }

    #[test]
    fn half_way_up_the_ramp_a_quarter_of_its_calls_was_made() {
        let (mut early, mut ramp) = (0, 0);
        for (at, call) in due(60, 60) {
            if call == Call::Page {
                early += u32::from(at < Duration::from_secs(30));
                ramp += u32::from(at < Duration::from_secs(60));
            }
        }
        assert_eq!((early, ramp), (150, 600));
    }

    #[test]
    fn nothing_is_due_of_what_nobody_wants() {
        let none = Pace::new(0.0, Duration::from_secs(9), Duration::from_secs(9));
        assert_eq!(none.at(0), None);
    }
}
