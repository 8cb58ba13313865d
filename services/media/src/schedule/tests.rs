#![allow(clippy::unwrap_used)]

use super::*;

const HOUR: i64 = 3_600_000_000;

fn at(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text)
        .unwrap()
        .timestamp_micros()
}

fn passed(cron: &str, last: &str, now: &str, policy: CatchUp, most: usize) -> Option<Vec<i64>> {
    let ticks = Ticks::of(cron, "UTC").unwrap();
    let passed = ticks.passed(at(last), at(now), policy, most)?;
    assert!(passed.until <= at(now) && passed.until > at(last));
    Some(passed.ticks)
}

#[test]
fn a_zone_is_meant_by_its_name_and_its_clocks_are_put_forward_and_back() {
    let ticks = Ticks::of("30 2 * * *", "Europe/Berlin").unwrap();
    // winter: an hour before UTC's; the night of March 28 has no 02:30, so it comes at 03:00
    let winter = ticks.after(at("2027-03-26T12:00:00Z")).unwrap();
    assert_eq!(winter, at("2027-03-27T01:30:00Z"));
    let gap = ticks.after(winter).unwrap();
    assert_eq!(gap, at("2027-03-28T01:00:00Z"));
    assert_eq!(ticks.after(gap).unwrap(), at("2027-03-29T00:30:00Z"));
    // October 31 has it twice, and one is enough
    let twice = ticks.after(at("2027-10-30T12:00:00Z")).unwrap();
    assert_eq!(twice, at("2027-10-31T00:30:00Z"));
    assert_eq!(ticks.after(twice).unwrap(), at("2027-11-01T01:30:00Z"));
    // an hour that comes twice has its ticks twice
    let each = Ticks::of("30 * * * *", "Europe/Berlin").unwrap();
    assert_eq!(each.after(twice).unwrap(), at("2027-10-31T01:30:00Z"));
}

#[test]
fn ticks_backwards_are_the_ticks_forwards_in_every_night_that_clocks_change() {
    for cron in [
        "30 2 * * *",
        "*/20 * * * *",
        "0 */3 * * *",
        "15 1,2,3 * * *",
    ] {
        for zone in [
            "UTC",
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
        ] {
            let ticks = Ticks::of(cron, zone).unwrap();
            for day in [
                "2027-03-13",
                "2027-03-27",
                "2027-10-30",
                "2027-11-06",
                "2027-04-03",
            ] {
                let (from, to) = (at(&format!("{day}T00:00:00Z")), 0);
                let to = to + from + 48 * HOUR;
                let forwards: Vec<i64> =
                    std::iter::successors(ticks.after(from), |time| ticks.after(*time))
                        .take_while(|time| *time <= to)
                        .collect();
                let passed = ticks.passed(from, to, CatchUp::All, 1_000).unwrap();
                assert_eq!(passed.ticks, forwards, "{cron} {zone} {day}");
            }
        }
    }
}

#[test]
fn missed_ticks_are_skipped_stood_for_by_one_or_all_made_up_for() {
    let (last, now) = ("2027-01-01T00:00:00Z", "2027-01-01T05:30:00Z");
    let hourly = "0 * * * *";
    assert_eq!(passed(hourly, last, now, CatchUp::Skip, 9), Some(vec![]));
    let latest = at("2027-01-01T05:00:00Z");
    assert_eq!(
        passed(hourly, last, now, CatchUp::Once, 9),
        Some(vec![latest])
    );
    let all = passed(hourly, last, now, CatchUp::All, 9).unwrap();
    assert_eq!(all.len(), 5);
    assert!(all.is_sorted() && all.last() == Some(&latest));
    let some = passed(hourly, last, now, CatchUp::All, 2).unwrap();
    assert_eq!(some, all[3..]);
    // on time it is no longer missed, and the one before still is
    let on_time = "2027-01-01T05:00:02Z";
    for policy in [CatchUp::Skip, CatchUp::Once] {
        assert_eq!(passed(hourly, last, on_time, policy, 9), Some(vec![latest]));
    }
    assert_eq!(passed(hourly, now, now, CatchUp::All, 9), None);
    // to the second: a tick belongs to the time it is due at
    let due = "2027-01-01T06:00:00Z";
    assert_eq!(
        passed(hourly, now, due, CatchUp::Once, 9),
        Some(vec![at(due)])
    );
}

#[test]
fn years_of_downtime_cost_no_more_than_the_bound() {
    let ticks = Ticks::of("* * * * * *", "UTC").unwrap();
    let now = at("2027-01-01T00:00:00Z");
    let passed = ticks.passed(0, now, CatchUp::All, 1_000).unwrap();
    assert_eq!((passed.ticks.len(), passed.until), (1_000, now));
    assert!(passed.left_out);
}

#[test]
fn what_is_no_pattern_is_refused_by_name() {
    for (cron, zone, word) in [
        ("61 * * * *", "UTC", "61 * * * *"),
        ("* * *", "UTC", "fields"),
        ("0 0 0 1 1 * 2026", "UTC", "fields"),
        ("", "UTC", "fields"),
        ("0 0 30 2 *", "UTC", "never"),
        ("0 * * * *", "Mars/Olympus", "Mars/Olympus"),
        ("0 * * * *", "", "time zone"),
    ] {
        let fault = Ticks::of(cron, zone).unwrap_err().to_string();
        assert!(fault.contains(word), "{fault}");
    }
    assert_eq!(Schedules::default().faults(), Vec::<String>::new());
    let mut bad = Schedules::default();
    bad.sweep_jobs.cron = "nightly".to_owned();
    bad.sweep_blobs.max_catch_up = 0;
    assert_eq!(bad.faults().len(), 2, "{:?}", bad.faults());
}
