//! Trees of jobs, in and out.

use mediamesh_proto::{
    JobId, MediaItemId, Violations,
    media::v1::{CreateJobTreeRequest, JobStep, JobTree, JobTreeStep, job::Kind},
};
use mediamesh_store::job::{JobKind, Step};

use super::{answer, request};
use crate::{
    error::Result,
    tree::{self, MAX_STEPS, Status, WantedStep},
};

/// Most characters of a step's name.
const MAX_NAME: usize = 64;

/// Reads the steps of a tree.
pub fn steps(wanted: &CreateJobTreeRequest) -> Result<Vec<WantedStep>> {
    let mut violations = Violations::new();
    let v = &mut violations;
    let count = wanted.steps.len();
    v.check(!(1..=MAX_STEPS).contains(&count), "steps", || {
        format!("has {count} steps; from 1 to {MAX_STEPS} are possible")
    });
    // the rest of too many is not looked at
    let wanted = &wanted.steps[..count.min(MAX_STEPS)];
    let steps: Vec<Option<WantedStep>> = wanted
        .iter()
        .enumerate()
        .map(|(place, step)| one(place, step, v))
        .collect();
    let names: Vec<&str> = wanted.iter().map(|step| step.name.as_str()).collect();
    let needs = |step: &JobStep| step.needs.iter().take(MAX_STEPS).cloned().collect();
    let needs: Vec<Vec<String>> = wanted.iter().map(needs).collect();
    let needs: Vec<Vec<&str>> = needs
        .iter()
        .map(|needs| needs.iter().map(String::as_str).collect())
        .collect();
    tree::check(&names, &needs, v);
    violations.finish()?;
    Ok(steps.into_iter().flatten().collect())
}

fn one(place: usize, step: &JobStep, v: &mut Violations) -> Option<WantedStep> {
    let field = |name: &str| format!("steps[{place}].{name}");
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
    let named = (1..=MAX_NAME).contains(&step.name.len()) && step.name.chars().all(fits);
    v.check(!named, &field("name"), || {
        format!("must have 1 to {MAX_NAME} lower-case letters, digits, `_` and `-`")
    });
    v.check(step.needs.len() > MAX_STEPS, &field("needs"), || {
        format!("names {} steps; limit is {MAX_STEPS}", step.needs.len())
    });
    let kind = match step.kind() {
        _ if Kind::try_from(step.kind).is_err() => None,
        Kind::Unspecified | Kind::ProcessMedia => Some(JobKind::ProcessMedia),
        Kind::EmbedMedia => Some(JobKind::EmbedMedia),
        Kind::DeleteBlobs
        | Kind::GenerateImage
        | Kind::SweepJobs
        | Kind::SweepBlobs
        | Kind::CheckBlobs => None,
    };
    v.check(kind.is_none(), &field("kind"), || {
        "must be KIND_PROCESS_MEDIA or KIND_EMBED_MEDIA".to_owned()
    });
    let priority = request::priority(step.priority, &field("priority"), v);
    let item = v.take(
        &field("media_item_id"),
        step.media_item_id.parse::<MediaItemId>(),
    );
    Some(WantedStep {
        name: step.name.clone(),
        kind: kind?,
        item: item?,
        priority,
        needs: step.needs.clone(),
    })
}

/// A tree with one status for all of its steps.
#[must_use]
pub fn job_tree(id: JobId, steps: Vec<Step>, status: Status) -> JobTree {
    let step = |step: Step| JobTreeStep {
        job: Some(answer::job(step.job)),
        needed_job_ids: step.needs.iter().map(JobId::to_string).collect(),
    };
    JobTree {
        id: id.to_string(),
        state: status.state as i32,
        progress: status.progress,
        succeeded_count: i32::try_from(status.succeeded).unwrap_or(i32::MAX),
        steps: steps.into_iter().map(step).collect(),
    }
}
