//! `load`: many users at once on a running mesh, and whether it bears them (S0-47 to S0-49, S0-55).
//!
//! The load is open: each call has its time before the run begins, and is made then, however late the mesh is
//! with those before. A call's latency counts from that time, so a mesh that stops for a second has a
//! second's worth of slow calls and not one (coordinated omission).
//!
//! - `pace`: when each call is due
//! - `user`: the calls
//! - `photo`: what is uploaded
//! - `tally`: what came of them

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use self::{
    pace::{Call, Due, Pace},
    photo::Photos,
    tally::{Bars, Tally},
    user::{Known, User},
};
use super::top;
use crate::{cli::Load, config::Config, exit::Usage, import::screen::say};

mod pace;
mod photo;
mod tally;
mod user;

/// Longest run, so that the sums below stay small.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// Calls under way at most; one more is not made and counts as failed.
const IN_FLIGHT_MAX: usize = 20_000;
/// Longest wait until what was uploaded before the run can be found.
const PREPARE_PATIENCE: Duration = Duration::from_secs(300);
/// Longest wait for the last answers, beyond what a call may take.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// Deletions at once at the end.
const DELETIONS: usize = 8;
/// Deletions that fail one after the other until no more are tried: each may take as long as a call may.
const DELETIONS_FAILED_MAX: usize = 8;

pub(super) async fn run(args: Load, config: &Config) -> Result<()> {
    check(&args)?;
    let address = match &args.address {
        Some(address) => address.clone(),
        None => top::addresses(&[], config)?.swap_remove(0),
    };
    let base = match address.contains("://") {
        true => address.trim_end_matches('/').to_owned(),
        false => format!("http://{address}"),
    };
    let photos = Arc::new(Photos::open(args.photos.clone()).await?);
    let known = Arc::new(Known::default());
    let make = || User::new(&base, args.key.api_key.as_deref(), &photos, &known);
    let users: Vec<User> = (0..args.users).map(|_| make()).collect::<Result<_>>()?;
    let users: Arc<[User]> = users.into();
    prepare(&users, args.prepare).await?;
    let tally = Arc::new(Mutex::new(Tally::new()));
    let interrupted = drive(&args, &users, &tally).await;
    if !args.keep {
        tidy(&users, &known).await;
    }
    let tally = std::mem::take(&mut *tally.lock());
    let bars = Bars {
        api_ms: args.api_p95_ms,
        search_ms: args.search_p95_ms,
        upload_ms: args.upload_p95_ms,
        error_percent: args.max_error_percent,
    };
    let verdicts = bars.judge(&tally);
    say(&tally.table().to_string());
    for line in tally.notes() {
        say(&line);
    }
    for verdict in &verdicts {
        say(&verdict.line());
    }
    if let Some(path) = &args.json {
        let report = tally.report(&args, &base, interrupted, &verdicts);
        let text = serde_json::to_string_pretty(&report)?;
        tokio::fs::write(path, text)
            .await
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if interrupted {
        bail!("the run was interrupted: the figures are of what was made of it");
    }
    let missed = verdicts.iter().filter(|verdict| !verdict.held).count();
    if missed > 0 {
        bail!("{missed} of {} bars missed", verdicts.len());
    }
    Ok(())
}

fn check(args: &Load) -> Result<()> {
    let fault = |text: &str| Err(Usage(text.to_owned()).into());
    if args.think < Duration::from_millis(10) {
        return fault("--think must be at least 10ms");
    }
    if args.duration.is_zero() || args.ramp > LONGEST || args.duration > LONGEST {
        return fault("--duration must be over 0s, and neither it nor --ramp over 7days");
    }
    if !(0.0..=100.0).contains(&args.max_error_percent) {
        return fault("--max-error-percent must be 0 to 100");
    }
    Ok(())
}

/// Uploads pictures and waits until the last of them can be found.
async fn prepare(users: &[User], count: u32) -> Result<()> {
    let user = &users[0];
    let mut last = None;
    for _ in 0..count {
        let uploaded = user.upload().await;
        let id = uploaded.map_err(|failure| {
            anyhow::anyhow!("cannot upload a picture to {}: {failure}", user.base())
        })?;
        last = Some(id);
    }
    let Some(last) = last else { return Ok(()) };
    let start = Instant::now();
    while !user.is_ready(&last).await {
        if start.elapsed() > PREPARE_PATIENCE {
            bail!(
                "picture {last} is not ready after {} s: does a worker run?",
                PREPARE_PATIENCE.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Makes every call at its time; true if somebody broke it off.
async fn drive(args: &Load, users: &Arc<[User]>, tally: &Arc<Mutex<Tally>>) -> bool {
    let due = Due::new(
        [
            (Call::Search, f64::from(args.searches_per_minute) / 60.0),
            (Call::Upload, f64::from(args.uploads_per_minute) / 60.0),
            (Call::Page, f64::from(args.users) / args.think.as_secs_f64()),
        ]
        .map(|(call, rate)| (call, Pace::new(rate, args.ramp, args.duration))),
    );
    tally.lock().planned(&due);
    let bar = progress(due.calls());
    // the same calls at each run
    let mut random = StdRng::seed_from_u64(1);
    let mut calls = JoinSet::new();
    let start = Instant::now();
    let mut interrupted = false;
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    for (after, call) in due {
        let planned = start + after;
        tokio::select! {
            biased;
            _ = &mut stop => {
                interrupted = true;
                break;
            }
            () = sleep_until(planned) => {}
        }
        while calls.try_join_next().is_some() {}
        bar.inc(1);
        let here = match args.ramp.is_zero() {
            true => args.users,
            false => {
                let share = after.as_secs_f64() / args.ramp.as_secs_f64();
                ((f64::from(args.users) * share.min(1.0)).ceil() as u32).clamp(1, args.users)
            }
        };
        let user = random.random_range(0..here) as usize;
        let seed: u64 = random.random();
        tally.lock().made(planned.elapsed());
        if calls.len() >= IN_FLIGHT_MAX {
            let why = format!("not made: {IN_FLIGHT_MAX} are under way");
            tally.lock().failed(call, why);
            continue;
        }
        let (users, tally) = (Arc::clone(users), Arc::clone(tally));
        calls.spawn(async move {
            let answer = users[user].make(call, seed).await;
            let took = planned.elapsed();
            let mut tally = tally.lock();
            match answer {
                Ok(hits) => tally.answered(call, took, hits),
                Err(failure) => tally.failed(call, failure),
            }
        });
    }
    if interrupted {
        // who broke the run off may break off the wait as well
        stop.set(tokio::signal::ctrl_c());
    }
    let all = async { while calls.join_next().await.is_some() {} };
    let ended = tokio::select! {
        biased;
        _ = &mut stop => {
            interrupted = true;
            false
        }
        ended = timeout(user::TIMEOUT + END_PATIENCE, all) => ended.is_ok(),
    };
    if !ended {
        tracing::warn!("some calls did not end and are not counted");
    }
    bar.finish_and_clear();
    interrupted
}

fn progress(calls: u64) -> ProgressBar {
    let bar = ProgressBar::new(calls);
    let style = "{bar:40} {pos}/{len} calls, {elapsed} of {duration}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

/// Deletes what was uploaded, until somebody breaks it off or the mesh deletes no more.
async fn tidy(users: &[User], known: &Known) {
    use futures::StreamExt as _;
    let uploaded = known.take();
    let count = uploaded.len();
    let mut deletions = futures::stream::iter(uploaded)
        .map(|id| async move { users[0].delete(&id).await })
        .buffer_unordered(DELETIONS);
    let mut deleted = 0;
    let mut failed_in_a_row = 0;
    let all = async {
        while failed_in_a_row < DELETIONS_FAILED_MAX {
            match deletions.next().await {
                Some(Ok(())) => {
                    deleted += 1;
                    failed_in_a_row = 0;
                }
                Some(Err(_)) => failed_in_a_row += 1,
                None => break,
            }
        }
    };
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => {}
        () = all => {}
    }
    let left = count - deleted;
    if left > 0 {
        say(&format!(
            "{left} of {count} uploaded pictures were not deleted"
        ));
    }
}
