//! Commands for many keys: in one round trip, and to each master of a cluster in one pipeline.
//!
//! A slot that has just moved is met by a pipeline that went to where it was. What was in that pipeline
//! is then asked for anew, each command by itself, which the client leads to where its key is. So every
//! command must leave the same when it is run twice; what it answers is then of the second time, and a count
//! of what was removed may be too low.

use std::collections::BTreeMap;

use futures::future::{join_all, try_join_all};
use redis::{
    Cmd, Pipeline, RedisError, RedisResult, Script, Value,
    aio::ConnectionLike as _,
    cluster_async::ClusterConnection,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
};

use super::{
    connection::Connection,
    slots::{self, Slots},
};

/// Steps that travel in one pipeline; what others ask for goes between two.
const PIPELINE_STEPS: usize = 128;

/// What is done to one key.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    slot: u16,
    /// Each touches keys of that slot only.
    commands: Vec<Cmd>,
}

impl Step {
    /// Commands on `key`, and on others of its slot.
    pub(crate) fn new(key: &str, commands: Vec<Cmd>) -> Self {
        Self {
            slot: slots::slot(key),
            commands,
        }
    }
}

impl Connection {
    /// Runs steps, of which `script` is used if they run one; answers for each, in order, what its
    /// commands answered.
    ///
    /// Errors: the first that a command or a connection had; the other steps were run, or may have been.
    pub(crate) async fn batch(
        &mut self,
        steps: &[Step],
        script: Option<&Script>,
    ) -> RedisResult<Vec<Vec<Value>>> {
        let groups = match self {
            Self::Single(_) => vec![(0..steps.len()).collect()],
            Self::Cluster(_, slots) => grouped(steps, &slots.load()),
        };
        let pipelines: Vec<Vec<usize>> = (groups.iter())
            .flat_map(|group: &Vec<usize>| group.chunks(PIPELINE_STEPS).map(<[usize]>::to_vec))
            .collect();
        let answers = join_all(pipelines.iter().map(|places| {
            let mut connection = self.clone();
            let steps = places.iter().map(|place| &steps[*place]).collect();
            async move { connection.together(steps, script).await }
        }))
        .await;
        let mut found = vec![Vec::new(); steps.len()];
        for (places, answers) in std::iter::zip(pipelines, answers) {
            for (place, answer) in std::iter::zip(places, answers?) {
                found[place] = answer;
            }
        }
        Ok(found)
    }

    /// Runs steps of one master.
    async fn together(
        &mut self,
        steps: Vec<&Step>,
        script: Option<&Script>,
    ) -> RedisResult<Vec<Vec<Value>>> {
        let Some(first) = steps.first() else {
            return Ok(Vec::new());
        };
        let mut pipeline = Pipeline::new();
        if let Some(script) = script {
            // cheaper than to find out that it is not there, which a restart of Redis makes true again
            pipeline.load_script(script).ignore();
        }
        for command in steps.iter().flat_map(|step| &step.commands) {
            pipeline.add_command(command.clone());
        }
        let skipped = usize::from(script.is_some());
        let count = steps.iter().map(|step| step.commands.len()).sum();
        let answers = match self {
            Self::Single(connection) => {
                connection
                    .req_packed_commands(&pipeline, skipped, count)
                    .await
            }
            Self::Cluster(connection, _) => {
                let route = SingleNodeRoutingInfo::SpecificNode(master(first.slot));
                connection
                    .route_pipeline(pipeline, skipped, count, route)
                    .await
            }
        };
        let mut answers = match answers {
            Err(error) if error.is_cluster_error() => return self.one_by_one(&steps, script).await,
            answers => answers?.into_iter(),
        };
        (steps.iter())
            .map(|step| {
                let answers = answers.by_ref().take(step.commands.len());
                answers.map(Value::extract_error).collect()
            })
            .collect()
    }

    /// Runs steps whose keys are not all where they were thought to be.
    async fn one_by_one(
        &mut self,
        steps: &[&Step],
        script: Option<&Script>,
    ) -> RedisResult<Vec<Vec<Value>>> {
        // asked for anew beside this: the next batch knows better
        let masters = self.masters().await?;
        if let Some(script) = script {
            for master in &masters {
                self.ask(master, Cmd::load_script(script)).await?;
            }
        }
        let Self::Cluster(connection, _) = self else {
            return Err(RedisError::from((
                redis::ErrorKind::UnexpectedReturnType,
                "a server that is of no cluster answers as one of a cluster",
            )));
        };
        let connection = &*connection;
        try_join_all(steps.iter().map(|step| async move {
            let mut answers = Vec::with_capacity(step.commands.len());
            for command in &step.commands {
                let answer = run(connection.clone(), command.clone(), step.slot).await?;
                answers.push(answer.extract_error()?);
            }
            Ok(answers)
        }))
        .await
    }
}

async fn run(mut connection: ClusterConnection, command: Cmd, slot: u16) -> RedisResult<Value> {
    let node = SingleNodeRoutingInfo::SpecificNode(master(slot));
    connection
        .route_command(command, RoutingInfo::SingleNode(node))
        .await
}

fn master(slot: u16) -> Route {
    Route::new(slot, SlotAddr::Master)
}

/// Places of the steps of each master; those of a slot that nobody is known to have stay together.
fn grouped(steps: &[Step], slots: &Slots) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<Result<&str, u16>, Vec<usize>> = BTreeMap::new();
    for (place, step) in steps.iter().enumerate() {
        let group = slots.master(step.slot).ok_or(step.slot);
        groups.entry(group).or_default().push(place);
    }
    groups.into_values().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_a_master_travel_together_and_those_of_nobody_by_slot() {
        let half = ["left", "right"].map(str::to_owned);
        let [left, right] = half;
        let slots = Slots::new(vec![(0..=8000, left), (8001..=16000, right)]);
        let of = |slot| Step {
            slot,
            commands: Vec::new(),
        };
        let steps = [16100, 1, 9000, 8000, 16101, 16000, 16100].map(of);
        let groups = grouped(&steps, &slots);
        assert_eq!(groups, [vec![1, 3], vec![2, 5], vec![0, 6], vec![4]]);
        assert_eq!(grouped(&steps[..1], &Slots::default()), [vec![0]]);
        assert_eq!(grouped(&[], &slots), Vec::<Vec<usize>>::new());
    }
}
