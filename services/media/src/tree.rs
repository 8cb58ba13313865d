//! Trees of jobs: steps that need each other, checked before anything is queued, and one status for
//! all of them.

use std::collections::{HashMap, HashSet};

use mediamesh_proto::{MediaItemId, Violations};
use mediamesh_store::job::{JobKind, JobState, StepCount};

/// Most steps of a tree: one transaction of some milliseconds, and one answer that holds them all.
pub const MAX_STEPS: usize = 64;

/// A step that somebody wants.
#[derive(Debug, Clone)]
pub struct WantedStep {
    /// Name in the tree.
    pub name: String,
    /// What to do.
    pub kind: JobKind,
    /// Item to work on.
    pub item: MediaItemId,
    /// Lower runs first.
    pub priority: i16,
    /// Names of steps that must have succeeded before it starts.
    pub needs: Vec<String>,
}

/// Checks the names that steps need, and that no step needs itself by way of others.
pub(crate) fn check(names: &[&str], needs: &[Vec<&str>], v: &mut Violations) {
    let known: HashMap<&str, usize> = names
        .iter()
        .enumerate()
        .map(|(place, name)| (*name, place))
        .collect();
    v.check(known.len() < names.len(), "steps", || {
        "two steps have the same name".to_owned()
    });
    let mut sound = true;
    for (place, needs) in needs.iter().enumerate() {
        let field = format!("steps[{place}].needs");
        let distinct: HashSet<&&str> = needs.iter().collect();
        v.check(distinct.len() < needs.len(), &field, || {
            "names a step twice".to_owned()
        });
        for need in needs {
            let unknown = !known.contains_key(need);
            sound &= !unknown;
            v.check(unknown, &field, || format!("there is no step {need:?}"));
        }
    }
    if !sound {
        return;
    }
    // steps that need nothing are taken out, then those that need nothing else, until none is left
    let mut open: Vec<usize> = (0..names.len()).collect();
    let mut done: HashSet<&str> = HashSet::new();
    loop {
        let before = open.len();
        open.retain(|place| {
            let free = needs[*place].iter().all(|need| done.contains(need));
            if free {
                done.insert(names[*place]);
            }
            !free
        });
        if open.is_empty() {
            return;
        }
        if open.len() == before {
            let round: Vec<&str> = open.iter().map(|place| names[*place]).collect();
            v.check(true, "steps", || {
                format!("these steps wait for each other: {}", round.join(", "))
            });
            return;
        }
    }
}

/// How a tree is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Status {
    /// One state for all steps.
    pub state: JobState,
    /// In [0, 1]: each step counts the same.
    pub progress: f32,
    /// Steps that succeeded.
    pub succeeded: i64,
}

/// Sums up the steps of a tree, all of them: it runs from the first step's start to the last one's
/// end, and has failed if one step has.
#[must_use]
pub fn status(counts: &[StepCount]) -> Status {
    let jobs = |of: &dyn Fn(JobState) -> bool| -> i64 {
        let counted = counts.iter().filter(|count| of(count.state));
        counted.map(|count| count.jobs).sum()
    };
    let count = |state| jobs(&|other| other == state);
    let (all, ended) = (jobs(&|_| true), jobs(&JobState::has_ended));
    let begun = ended > 0 || count(JobState::Running) > 0;
    let state = match (ended == all, begun) {
        (false, true) => JobState::Running,
        (false, false) => JobState::Queued,
        (true, _) if count(JobState::Failed) > 0 => JobState::Failed,
        (true, _) if count(JobState::Cancelled) > 0 => JobState::Cancelled,
        (true, _) => JobState::Succeeded,
    };
    let share = |of: &StepCount| match of.state {
        JobState::Succeeded => of.jobs as f32,
        _ => of.progress,
    };
    let sum: f32 = counts.iter().map(share).sum();
    Status {
        state,
        progress: (sum / all.max(1) as f32).clamp(0.0, 1.0),
        succeeded: count(JobState::Succeeded),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn checked(steps: &[(&str, &[&str])]) -> Result<(), String> {
        let names: Vec<&str> = steps.iter().map(|(name, _)| *name).collect();
        let needs: Vec<Vec<&str>> = steps.iter().map(|(_, needs)| needs.to_vec()).collect();
        let mut violations = Violations::new();
        check(&names, &needs, &mut violations);
        violations.finish().map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn cycles_and_unknown_steps_are_found() {
        let good: &[(&str, &[&str])] = &[
            ("ready", &["thumbnails", "embed"]),
            ("thumbnails", &["probe"]),
            ("embed", &["probe"]),
            ("probe", &[]),
        ];
        checked(good).unwrap();
        for (steps, word) in [
            (&[("a", &["b"] as &[&str]), ("b", &["a"])][..], "a, b"),
            (&[("a", &["a"])], "each other: a"),
            (
                &[("x", &[]), ("a", &["x", "c"]), ("b", &["a"]), ("c", &["b"])],
                "a, b, c",
            ),
            (&[("a", &["gone"])], "gone"),
            (&[("a", &[]), ("a", &[])], "same name"),
            (&[("a", &[]), ("b", &["a", "a"])], "twice"),
        ] {
            let fault = checked(steps).unwrap_err();
            assert!(fault.contains(word), "{fault}");
        }
    }
}
