//! What came of the calls: latencies, failures, and whether they are within the bars.

use std::{collections::BTreeMap, time::Duration};

use comfy_table::Table;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    super::table::table,
    pace::{Call, Due},
};
use crate::cli::Load;

/// Reasons that are told apart; the rest is one.
const REASONS_MAX: usize = 32;
const LONGEST_MICROS: u64 = 3_600_000_000;

/// Of one kind of call.
#[derive(Debug)]
struct Kind {
    call: Call,
    planned: u64,
    failed: u64,
    /// Searches that found nothing.
    empty: u64,
    micros: Histogram<u64>,
}

/// Of all.
#[derive(Debug)]
pub(super) struct Tally {
    kinds: [Kind; 3],
    failures: BTreeMap<String, u64>,
    /// How late this process was with making calls.
    late_micros: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_MICROS, 3).expect("these bounds are allowed")
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            kinds: Call::ALL.map(|call| Kind {
                call,
                planned: 0,
                failed: 0,
                empty: 0,
                micros: histogram(),
            }),
            failures: BTreeMap::new(),
            late_micros: histogram(),
        }
    }

    pub(super) fn planned(&mut self, due: &Due) {
        for kind in &mut self.kinds {
            kind.planned = due.count_of(kind.call);
        }
    }

    /// A call was made, so late.
    pub(super) fn made(&mut self, late: Duration) {
        self.late_micros.saturating_record(micros(late));
    }

    /// A call was answered; a search with so many hits.
    pub(super) fn answered(&mut self, call: Call, took: Duration, hits: Option<usize>) {
        let kind = self.kind(call);
        kind.micros.saturating_record(micros(took));
        kind.empty += u64::from(hits == Some(0));
    }

    pub(super) fn failed(&mut self, call: Call, why: String) {
        self.kind(call).failed += 1;
        let why = format!("{}: {why}", call.name());
        let why = match self.failures.len() < REASONS_MAX || self.failures.contains_key(&why) {
            true => why,
            false => "other".to_owned(),
        };
        *self.failures.entry(why).or_default() += 1;
    }

    fn kind(&mut self, call: Call) -> &mut Kind {
        &mut self.kinds[call as usize]
    }

    fn of(&self, call: Call) -> &Kind {
        &self.kinds[call as usize]
    }

    fn error_percent(&self) -> f64 {
        let failed: u64 = self.kinds.iter().map(|kind| kind.failed).sum();
        let answered: u64 = self.kinds.iter().map(|kind| kind.micros.len()).sum();
        100.0 * failed as f64 / (failed + answered).max(1) as f64
    }

    pub(super) fn table(&self) -> Table {
        let mut table = table([
            "call", "planned", "answered", "failed", "no hits", "p50", "p95", "p99", "longest",
        ]);
        for kind in &self.kinds {
            let at = |share| ms(kind.micros.value_at_quantile(share));
            let empty = match kind.call {
                Call::Search => kind.empty.to_string(),
                Call::Page | Call::Upload => String::new(),
            };
            table.add_row([
                kind.call.name().to_owned(),
                kind.planned.to_string(),
                kind.micros.len().to_string(),
                kind.failed.to_string(),
                empty,
                at(0.5),
                at(0.95),
                at(0.99),
                ms(kind.micros.max()),
            ]);
        }
        table
    }

    /// Failures by reason, and what to think of the figures.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self
            .failures
            .iter()
            .map(|(why, count)| format!("{count} x {why}"))
            .collect();
        let late = self.late_micros.value_at_quantile(0.99);
        notes.push(format!(
            "latencies count from when a call was due; 99 % were made within {} of that",
            ms(late)
        ));
        notes
    }

    pub(super) fn report(
        &self,
        args: &Load,
        address: &str,
        interrupted: bool,
        verdicts: &[Verdict],
    ) -> Report {
        let millis = |micros: u64| micros as f64 / 1e3;
        let calls = self.kinds.iter().map(|kind| CallReport {
            call: kind.call.name(),
            planned: kind.planned,
            answered: kind.micros.len(),
            failed: kind.failed,
            no_hits: kind.empty,
            p50_ms: millis(kind.micros.value_at_quantile(0.5)),
            p95_ms: millis(kind.micros.value_at_quantile(0.95)),
            p99_ms: millis(kind.micros.value_at_quantile(0.99)),
            longest_ms: millis(kind.micros.max()),
        });
        Report {
            address: address.to_owned(),
            users: args.users,
            ramp_secs: args.ramp.as_secs_f64(),
            duration_secs: args.duration.as_secs_f64(),
            think_secs: args.think.as_secs_f64(),
            searches_per_minute: args.searches_per_minute,
            uploads_per_minute: args.uploads_per_minute,
            interrupted,
            calls: calls.collect(),
            failures: self.failures.clone(),
            late_p99_ms: millis(self.late_micros.value_at_quantile(0.99)),
            held: verdicts.iter().all(|verdict| verdict.held),
            bars: verdicts.to_vec(),
        }
    }
}

/// What a mesh must bear.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bars {
    pub(super) api_ms: u64,
    pub(super) search_ms: u64,
    pub(super) upload_ms: Option<u64>,
    pub(super) error_percent: f64,
}

impl Bars {
    /// A bar of calls that nobody made is not judged.
    pub(super) fn judge(&self, tally: &Tally) -> Vec<Verdict> {
        let times = [
            (Call::Page, Some(self.api_ms)),
            (Call::Search, Some(self.search_ms)),
            (Call::Upload, self.upload_ms),
        ];
        let mut verdicts: Vec<Verdict> = times
            .into_iter()
            .filter_map(|(call, bar)| {
                let bar = bar?;
                let kind = tally.of(call);
                let value = kind.micros.value_at_quantile(0.95) as f64 / 1e3;
                (kind.planned > 0).then(|| Verdict {
                    what: format!("{} p95", call.name()),
                    value,
                    bar: bar as f64,
                    unit: "ms",
                    // no answer at all is no good time
                    held: value < bar as f64 && !kind.micros.is_empty(),
                })
            })
            .collect();
        let errors = tally.error_percent();
        verdicts.push(Verdict {
            what: "failed calls".to_owned(),
            value: errors,
            bar: self.error_percent,
            unit: "%",
            // of a bar of 0 none may fail
            held: errors < self.error_percent || errors == 0.0,
        });
        verdicts
    }
}

/// A bar, and what was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Verdict {
    what: String,
    value: f64,
    bar: f64,
    unit: &'static str,
    pub(super) held: bool,
}

impl Verdict {
    pub(super) fn line(&self) -> String {
        let Self {
            what,
            value,
            bar,
            unit,
            held,
        } = self;
        let held = if *held { "held" } else { "MISSED" };
        format!("{what}: {value:.2} {unit}, bar {bar} {unit}: {held}")
    }
}

/// The figures, for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    address: String,
    users: u32,
    ramp_secs: f64,
    duration_secs: f64,
    think_secs: f64,
    searches_per_minute: u32,
    uploads_per_minute: u32,
    interrupted: bool,
    calls: Vec<CallReport>,
    failures: BTreeMap<String, u64>,
    late_p99_ms: f64,
    bars: Vec<Verdict>,
    held: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CallReport {
    call: &'static str,
    planned: u64,
    answered: u64,
    failed: u64,
    no_hits: u64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    longest_ms: f64,
}

fn ms(micros: u64) -> String {
    format!("{:.1} ms", micros as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars() -> Bars {
        Bars {
            api_ms: 100,
            search_ms: 500,
            upload_ms: None,
            error_percent: 1.0,
        }
    }

    fn held(tally: &Tally) -> Vec<bool> {
        let verdicts = bars().judge(tally);
        verdicts.iter().map(|verdict| verdict.held).collect()
    }

    fn tally(pages: u64) -> Tally {
        let mut tally = Tally::new();
        tally.kinds[Call::Page as usize].planned = pages;
        tally
    }

    #[test]
    fn bars_are_missed_by_slow_calls_failed_calls_and_no_calls() {
        let mut good = tally(100);
        for n in 0..100 {
            let took = if n < 96 { 20 } else { 900 };
            good.answered(Call::Page, Duration::from_millis(took), None);
        }
        assert_eq!(held(&good), [true, true], "four of a hundred may be slow");
        for _ in 0..6 {
            good.answered(Call::Page, Duration::from_millis(900), None);
        }
        assert_eq!(held(&good), [false, true]);

        let mut refused = tally(1);
        refused.failed(Call::Page, "503".to_owned());
        assert_eq!(held(&refused), [false, false]);
        assert_eq!(held(&tally(1)), [false, true], "nothing was answered");
        assert_eq!(held(&Tally::new()), [true], "nothing was asked");
    }

    #[test]
    fn reasons_of_failures_do_not_grow_without_end() {
        let mut tally = Tally::new();
        for n in 0..10_000 {
            tally.failed(Call::Search, n.to_string());
        }
        assert_eq!(tally.failures.len(), REASONS_MAX + 1);
        assert_eq!(tally.failures.values().sum::<u64>(), 10_000);
    }
}
