//! `jobs`: the queue of a running mesh.

use std::collections::HashMap;

use anyhow::{Result, bail};
use mediamesh_mesh::Channel;
use mediamesh_proto::{
    media::v1::{
        CancelJobRequest, GetJobTreeRequest, GetQueueStatsRequest, GetQueueStatsResponse, Job,
        JobTree, ListJobsRequest, ListSchedulesRequest, PauseQueueRequest, QueueLimit, QueuePause,
        ResumeQueueRequest, RetryFailedJobsRequest, RetryJobRequest, Schedule, WatchJobRequest,
        job::{Kind, State},
        job_service_client::JobServiceClient,
        queue_limit::{Bound, Scope},
    },
    pbjson_types::Timestamp,
    time::{now_micros, timestamp},
};

use super::table::table;
use crate::{
    cli::{Endpoint, JobKindArg, JobStateArg, Jobs as Command},
    client,
    config::Config,
    import::screen::say,
};

/// Dead letters that are queued again by one command: as many as one call takes.
const MAX_RETRIED: i32 = 10_000;

pub(super) async fn run(command: Command, config: &Config) -> Result<()> {
    let open = |endpoint: &Endpoint| -> Result<JobServiceClient<Channel>> {
        Ok(JobServiceClient::new(client::connect(endpoint, config)?))
    };
    match command {
        Command::List {
            state,
            kind,
            limit,
            json,
            endpoint,
        } => {
            let jobs = list(open(&endpoint)?, state, kind, limit).await?;
            match json {
                true => say(&serde_json::to_string_pretty(&jobs)?),
                false => print(&jobs),
            }
        }
        Command::Show {
            id,
            watch,
            endpoint,
        } => return show(open(&endpoint)?, id, watch).await,
        Command::Tree { id, json, endpoint } => {
            let request = GetJobTreeRequest { job_tree_id: id };
            let answer = open(&endpoint)?.get_job_tree(request).await;
            let answer = answer.map_err(|status| client::explain(&status))?;
            let tree = answer.into_inner().job_tree.unwrap_or_default();
            match json {
                true => say(&serde_json::to_string_pretty(&tree)?),
                false => print_tree(&tree),
            }
        }
        Command::Cancel { id, endpoint } => {
            let request = CancelJobRequest { job_id: id };
            let answer = open(&endpoint)?.cancel_job(request).await;
            let job = answer.map_err(|status| client::explain(&status))?;
            let job = job.into_inner().job.unwrap_or_default();
            say(&format!("{} is cancelled", job.id));
        }
        Command::Retry {
            id: Some(id),
            endpoint,
            ..
        } => {
            let request = RetryJobRequest { job_id: id };
            let answer = open(&endpoint)?.retry_job(request).await;
            let job = answer.map_err(|status| client::explain(&status))?;
            let job = job.into_inner().job.unwrap_or_default();
            say(&format!("{} waits again", job.id));
        }
        Command::Retry {
            id: None,
            kind,
            endpoint,
            ..
        } => {
            let request = RetryFailedJobsRequest {
                kind: number(kind),
                max_count: MAX_RETRIED,
            };
            let answer = open(&endpoint)?.retry_failed_jobs(request).await;
            let answer = answer.map_err(|status| client::explain(&status))?;
            let count = answer.into_inner().retried_count;
            say(&format!("jobs that wait again: {count}"));
        }
        Command::Pause {
            kind,
            length,
            endpoint,
        } => {
            let until = length.map(|length| {
                let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
                timestamp(now_micros().saturating_add(micros))
            });
            let request = PauseQueueRequest {
                kind: number(kind),
                until_time: until,
            };
            let answer = open(&endpoint)?.pause_queue(request).await;
            let answer = answer.map_err(|status| client::explain(&status))?;
            say(&pauses(&answer.into_inner().pauses));
        }
        Command::Resume { kind, endpoint } => {
            let request = ResumeQueueRequest { kind: number(kind) };
            let answer = open(&endpoint)?.resume_queue(request).await;
            let answer = answer.map_err(|status| client::explain(&status))?;
            say(&pauses(&answer.into_inner().pauses));
        }
        Command::Schedules { json, endpoint } => {
            let answer = open(&endpoint)?
                .list_schedules(ListSchedulesRequest {})
                .await;
            let answer = answer.map_err(|status| client::explain(&status))?;
            let schedules = answer.into_inner().schedules;
            match json {
                true => say(&serde_json::to_string_pretty(&schedules)?),
                false => print_schedules(&schedules),
            }
        }
        Command::Stats { json, endpoint } => {
            let answer = open(&endpoint)?
                .get_queue_stats(GetQueueStatsRequest {})
                .await;
            let stats = answer
                .map_err(|status| client::explain(&status))?
                .into_inner();
            match json {
                true => say(&serde_json::to_string_pretty(&stats)?),
                false => print_stats(&stats),
            }
        }
    }
    Ok(())
}

async fn list(
    mut client: JobServiceClient<Channel>,
    state: Option<JobStateArg>,
    kind: Option<JobKindArg>,
    limit: u16,
) -> Result<Vec<Job>> {
    let limit = usize::from(limit);
    let mut request = ListJobsRequest {
        page_size: i32::try_from(limit.clamp(1, 500)).unwrap_or(500),
        page_token: String::new(),
        state: state.map_or(0, |state| State::from(state) as i32),
        kind: number(kind),
    };
    let mut all = Vec::new();
    while all.len() < limit {
        let answer = client.list_jobs(request.clone()).await;
        let page = answer
            .map_err(|status| client::explain(&status))?
            .into_inner();
        all.extend(page.jobs);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    all.truncate(limit);
    Ok(all)
}

async fn show(mut client: JobServiceClient<Channel>, id: String, watch: bool) -> Result<()> {
    let answer = client.watch_job(WatchJobRequest { job_id: id }).await;
    let mut changes = answer
        .map_err(|status| client::explain(&status))?
        .into_inner();
    let mut last = Job::default();
    while let Some(change) = changes
        .message()
        .await
        .map_err(|status| client::explain(&status))?
    {
        last = change.job.unwrap_or_default();
        if !watch {
            say(&serde_json::to_string_pretty(&last)?);
            return Ok(());
        }
        say(&format!(
            "{} {}/{} {} {}",
            state_name(&last),
            last.progress_current,
            last.progress_total,
            last.progress_message,
            last.last_error
        ));
    }
    match last.state() {
        State::Failed => bail!("the job failed: {}", last.last_error),
        State::Cancelled => bail!("the job was cancelled"),
        _ => Ok(()),
    }
}

fn print(jobs: &[Job]) {
    let mut rows = table([
        "id",
        "kind",
        "state",
        "attempts",
        "progress",
        "queued",
        "item",
        "last error",
    ]);
    for job in jobs {
        rows.add_row([
            job.id.clone(),
            kind_name(job.kind()),
            state_name(job),
            format!("{} of {}", job.attempts, job.max_attempts),
            format!("{:.0} %", job.progress * 100.0),
            time(job.create_time.as_ref()),
            job.media_item_id.clone(),
            job.last_error.clone(),
        ]);
    }
    say(&rows.to_string());
}

fn print_tree(tree: &JobTree) {
    let names: HashMap<&str, &str> = tree
        .steps
        .iter()
        .filter_map(|step| step.job.as_ref())
        .map(|job| (job.id.as_str(), job.step.as_str()))
        .collect();
    let mut rows = table(["step", "id", "state", "progress", "needs", "last error"]);
    for step in &tree.steps {
        let job = step.job.clone().unwrap_or_default();
        let needs = step.needed_job_ids.iter().map(String::as_str);
        let needs = needs.map(|id| names.get(id).copied().unwrap_or(id));
        let needs = needs.collect::<Vec<_>>().join(" ");
        let state = state_name(&job);
        let name = match job.step.is_empty() {
            true => kind_name(job.kind()),
            false => job.step,
        };
        let progress = format!("{:.0} %", job.progress * 100.0);
        rows.add_row([name, job.id, state, progress, needs, job.last_error]);
    }
    say(&rows.to_string());
    let state = tree.state().as_str_name().trim_start_matches("STATE_");
    say(&format!(
        "{}: {:.0} %, {} of {} steps succeeded",
        state.to_lowercase(),
        tree.progress * 100.0,
        tree.succeeded_count,
        tree.steps.len()
    ));
}

fn print_schedules(schedules: &[Schedule]) {
    let mut rows = table([
        "schedule", "due", "zone", "next", "last", "outcome", "error",
    ]);
    for schedule in schedules {
        let next = match schedule.enabled {
            true => time(schedule.next_time.as_ref()),
            false => "never: it is off".to_owned(),
        };
        let last = schedule.last_job.as_ref();
        rows.add_row([
            schedule.name.clone(),
            schedule.cron.clone(),
            schedule.time_zone.clone(),
            next,
            last.map_or_else(String::new, |job| time(job.schedule_time.as_ref())),
            last.map_or_else(|| "not yet due".to_owned(), state_name),
            last.map_or_else(String::new, |job| job.last_error.clone()),
        ]);
    }
    say(&rows.to_string());
}

fn print_stats(stats: &GetQueueStatsResponse) {
    let mut rows = table(["queue", ""]);
    let counts = [
        ("waiting", stats.waiting),
        ("delayed", stats.delayed),
        ("running", stats.active),
        ("stalled", stats.stalled),
        ("blocked", stats.blocked),
        ("succeeded", stats.completed),
        ("failed", stats.failed),
        ("cancelled", stats.cancelled),
    ];
    for (name, count) in counts {
        rows.add_row([name.to_owned(), count.to_string()]);
    }
    let rates = [
        ("succeeded a minute", stats.succeeded_per_minute),
        ("failed a minute", stats.failed_per_minute),
        ("oldest waits, seconds", stats.oldest_waiting_age_seconds),
    ];
    for (name, rate) in rates {
        rows.add_row([name.to_owned(), format!("{rate:.1}")]);
    }
    say(&rows.to_string());
    say(&pauses(&stats.pauses));
    for limit in &stats.limits {
        say(&held_back(limit));
    }
}

fn held_back(limit: &QueueLimit) -> String {
    let whose = match limit.scope() {
        Scope::All => "of all tenants",
        Scope::Tenant | Scope::Unspecified => "of this tenant",
    };
    let kind = match limit.kind() {
        Kind::Unspecified => "jobs".to_owned(),
        kind => format!("{} jobs", kind_name(kind)),
    };
    let (value, waiting) = (limit.limit, limit.held_back_count);
    match limit.bound() {
        Bound::StartsPerMinute => {
            format!("limited: {value} {kind} {whose} start in a minute; {waiting} wait")
        }
        Bound::Running | Bound::Unspecified => {
            format!("limited: {value} {kind} {whose} run at once; {waiting} wait")
        }
    }
}

fn pauses(pauses: &[QueuePause]) -> String {
    if pauses.is_empty() {
        return "nothing is paused".to_owned();
    }
    let line = |pause: &QueuePause| {
        let what = match pause.kind() {
            Kind::Unspecified => "every kind".to_owned(),
            kind => kind_name(kind),
        };
        match &pause.until_time {
            Some(until) => format!("paused: {what} until {}", time(Some(until))),
            None => format!("paused: {what} until it is resumed"),
        }
    };
    pauses.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn kind_name(kind: Kind) -> String {
    let name = kind.as_str_name().trim_start_matches("KIND_");
    name.to_lowercase().replace('_', "-")
}

fn state_name(job: &Job) -> String {
    let name = job.state().as_str_name();
    name.trim_start_matches("STATE_").to_lowercase()
}

/// In UTC, to the minute.
fn time(time: Option<&Timestamp>) -> String {
    time.and_then(|time| chrono::DateTime::from_timestamp(time.seconds, 0))
        .map_or_else(String::new, |time| {
            time.format("%Y-%m-%d %H:%M").to_string()
        })
}

fn number(kind: Option<JobKindArg>) -> i32 {
    let kind = match kind {
        None => Kind::Unspecified,
        Some(JobKindArg::ProcessMedia) => Kind::ProcessMedia,
        Some(JobKindArg::EmbedMedia) => Kind::EmbedMedia,
        Some(JobKindArg::DeleteBlobs) => Kind::DeleteBlobs,
        Some(JobKindArg::SweepJobs) => Kind::SweepJobs,
        Some(JobKindArg::SweepBlobs) => Kind::SweepBlobs,
        Some(JobKindArg::CheckBlobs) => Kind::CheckBlobs,
    };
    kind as i32
}

impl From<JobStateArg> for State {
    fn from(state: JobStateArg) -> Self {
        match state {
            JobStateArg::Queued => Self::Queued,
            JobStateArg::Running => Self::Running,
            JobStateArg::Succeeded => Self::Succeeded,
            JobStateArg::Failed => Self::Failed,
            JobStateArg::Cancelled => Self::Cancelled,
            JobStateArg::Blocked => Self::Blocked,
        }
    }
}
