//! The threads that run models.
//!
//! Inputs wait in two lanes. A free thread always takes interactive ones first, so a query waits
//! for one running batch at most, however much bulk work there is. Background images of one model
//! are run together: a thread that finds fewer than a full batch leaves them where they are until
//! the oldest has waited long enough, and looks after queries meanwhile. An input whose asker went
//! away is dropped before it is run.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use mediamesh_imaging::RgbImage;
use mediamesh_inference::spec::Tower;
use parking_lot::{Condvar, Mutex};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    error::Error,
    input::Input,
    metrics::{EmbeddingMetrics, RunLabels},
    models::Model,
    options::Options,
};

/// A vector that several callers may share.
pub(crate) type Shared = Arc<[f32]>;

/// Who waits for an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Somebody waits: goes first.
    Interactive,
    /// Bulk work.
    Background,
}

impl Lane {
    fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Background => "background",
        }
    }
}

/// How the pool works.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    workers: usize,
    max_batch: usize,
    batch_wait: Duration,
    max_queue: usize,
}

impl From<&Options> for Settings {
    fn from(options: &Options) -> Self {
        Self {
            workers: options.workers(),
            max_batch: options.max_batch,
            batch_wait: options.batch_wait(),
            max_queue: options.max_queue,
        }
    }
}

struct Job {
    id: u64,
    model: Arc<Model>,
    input: Input,
    queued: Instant,
    reply: oneshot::Sender<Result<Shared, Error>>,
}

impl Job {
    fn tower(&self) -> Tower {
        match self.input {
            Input::Text(_) => Tower::Text,
            Input::Image(_) => Tower::Image,
        }
    }

    fn runs_with(&self, other: &Self) -> bool {
        self.tower() == other.tower() && self.model.key == other.model.key
    }
}

#[derive(Default)]
struct Queues {
    interactive: VecDeque<Job>,
    background: VecDeque<Job>,
    last_id: u64,
    closed: bool,
}

struct State {
    queues: Mutex<Queues>,
    arrived: Condvar,
    settings: Settings,
    metrics: EmbeddingMetrics,
}

/// The threads; they end when it is dropped.
pub(crate) struct Pool {
    state: Arc<State>,
}

/// An input that was handed in.
pub(crate) struct Ticket {
    /// For [`Pool::promote`].
    pub(crate) id: u64,
    /// Answers when it was run; dropping it takes the input back.
    pub(crate) reply: oneshot::Receiver<Result<Shared, Error>>,
}

impl Pool {
    pub(crate) fn start(settings: Settings, metrics: EmbeddingMetrics) -> Self {
        let workers = settings.workers;
        let state = Arc::new(State {
            queues: Mutex::default(),
            arrived: Condvar::new(),
            settings,
            metrics,
        });
        for number in 0..workers {
            let state = Arc::clone(&state);
            let started = thread::Builder::new()
                .name(format!("embed-{number}"))
                .spawn(move || state.work());
            if let Err(error) = started {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    number,
                    "no thread for models"
                );
            }
        }
        Self { state }
    }

    /// Hands an input in.
    ///
    /// Errors: `QueueFull`.
    pub(crate) fn submit(
        &self,
        lane: Lane,
        model: Arc<Model>,
        input: Input,
    ) -> Result<Ticket, Error> {
        let (reply, receiver) = oneshot::channel();
        let mut queues = self.state.queues.lock();
        let (waiting, limit) = (
            queues.interactive.len() + queues.background.len(),
            self.state.settings.max_queue,
        );
        if waiting >= limit {
            return Err(Error::QueueFull { waiting, limit });
        }
        queues.last_id += 1;
        let id = queues.last_id;
        let job = Job {
            id,
            model,
            input,
            queued: Instant::now(),
            reply,
        };
        match lane {
            Lane::Interactive => queues.interactive.push_back(job),
            Lane::Background => queues.background.push_back(job),
        }
        drop(queues);
        self.state.arrived.notify_one();
        Ok(Ticket {
            id,
            reply: receiver,
        })
    }

    /// Moves an input that still waits in the background to the interactive lane.
    pub(crate) fn promote(&self, id: u64) {
        let mut queues = self.state.queues.lock();
        let place = queues.background.iter().position(|job| job.id == id);
        if let Some(job) = place.and_then(|place| queues.background.remove(place)) {
            queues.interactive.push_back(job);
            drop(queues);
            self.state.arrived.notify_one();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut queues = self.state.queues.lock();
        queues.closed = true;
        queues.interactive.clear();
        queues.background.clear();
        drop(queues);
        self.state.arrived.notify_all();
    }
}

impl State {
    fn work(&self) {
        while let Some((lane, batch)) = self.next() {
            // A panic in a model costs its batch, not the thread: dropped replies answer `CutOff`.
            if catch_unwind(AssertUnwindSafe(|| self.run(lane, batch))).is_err() {
                tracing::error!("a model panicked");
            }
        }
    }

    /// Waits for the next batch; `None` when the pool is closed.
    fn next(&self) -> Option<(Lane, Vec<Job>)> {
        let mut queues = self.queues.lock();
        loop {
            if queues.closed {
                return None;
            }
            self.drop_abandoned(&mut queues.interactive);
            if let Some(first) = queues.interactive.pop_front() {
                let batch = self.gather(first, &mut queues.interactive);
                return Some((Lane::Interactive, batch));
            }
            self.drop_abandoned(&mut queues.background);
            let Some(wait) = queues
                .background
                .front()
                .map(|first| self.wait_for_more(first, &queues.background))
            else {
                self.arrived.wait(&mut queues);
                continue;
            };
            if !wait.is_zero() {
                self.arrived.wait_for(&mut queues, wait);
                continue;
            }
            if let Some(first) = queues.background.pop_front() {
                let batch = self.gather(first, &mut queues.background);
                return Some((Lane::Background, batch));
            }
        }
    }

    /// Removes leading inputs that nobody waits for; the others are dropped when they are gathered.
    fn drop_abandoned(&self, queue: &mut VecDeque<Job>) {
        while queue.pop_front_if(|job| job.reply.is_closed()).is_some() {
            self.metrics.abandoned.inc();
        }
    }

    fn batch_limit(&self, job: &Job) -> usize {
        job.model
            .preferred_batch(job.tower())
            .min(self.settings.max_batch)
    }

    /// How long the batch of `first` should still wait for company.
    fn wait_for_more(&self, first: &Job, queue: &VecDeque<Job>) -> Duration {
        let limit = self.batch_limit(first);
        let gathers = first.tower() == Tower::Image && limit > 1;
        if !gathers
            || queue
                .iter()
                .filter(|job| job.runs_with(first))
                .take(limit)
                .count()
                >= limit
        {
            return Duration::ZERO;
        }
        self.settings
            .batch_wait
            .saturating_sub(first.queued.elapsed())
    }

    /// Takes what can run together with `first` out of `queue`.
    fn gather(&self, first: Job, queue: &mut VecDeque<Job>) -> Vec<Job> {
        let limit = self.batch_limit(&first);
        let mut batch = vec![first];
        let mut place = 0;
        while batch.len() < limit && place < queue.len() {
            if !queue[place].runs_with(&batch[0]) {
                place += 1;
                continue;
            }
            if let Some(job) = queue.remove(place) {
                if job.reply.is_closed() {
                    self.metrics.abandoned.inc();
                } else {
                    batch.push(job);
                }
            }
        }
        batch
    }

    fn run(&self, lane: Lane, batch: Vec<Job>) {
        let Some(first) = batch.first() else { return };
        let labels = RunLabels {
            lane: lane.as_str(),
            model: first.model.info.id.clone(),
        };
        let waits = self.metrics.queue_wait.get_or_create_owned(&labels);
        batch
            .iter()
            .for_each(|job| waits.observe(job.queued.elapsed().as_secs_f64()));
        self.metrics.batch_size.observe(batch.len() as f64);
        let started = Instant::now();
        let inputs: Vec<&Input> = batch.iter().map(|job| &job.input).collect();
        let result = encode(&first.model, &inputs);
        let taken = started.elapsed().as_secs_f64();
        self.metrics.run.get_or_create_owned(&labels).observe(taken);
        match result {
            Ok(vectors) => {
                for (job, vector) in batch.into_iter().zip(vectors) {
                    // Whoever asked may be gone by now.
                    let _ = job.reply.send(Ok(vector.into()));
                }
            }
            Err(error) if batch.len() == 1 => {
                for job in batch {
                    let _ = job.reply.send(Err(error.clone()));
                }
            }
            // One bad input must not fail the others of its batch.
            Err(_) => batch.into_iter().for_each(|job| self.run(lane, vec![job])),
        }
    }
}

fn encode(model: &Model, inputs: &[&Input]) -> Result<Vec<Vec<f32>>, Error> {
    if let [Input::Image(image)] = inputs {
        return model.run_images(std::slice::from_ref(image.as_ref()));
    }
    let texts: Vec<&str> = (inputs.iter())
        .filter_map(|input| match input {
            Input::Text(text) => Some(&**text),
            Input::Image(_) => None,
        })
        .collect();
    if !texts.is_empty() {
        return model.run_texts(&texts);
    }
    let images: Vec<RgbImage> = (inputs.iter())
        .filter_map(|input| match input {
            Input::Image(image) => Some((**image).clone()),
            Input::Text(_) => None,
        })
        .collect();
    model.run_images(&images)
}
