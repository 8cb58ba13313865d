#![allow(clippy::unwrap_used)]
use std::sync::{
    atomic::{AtomicUsize, Ordering},
    mpsc::{Receiver, SyncSender, sync_channel},
};

use mediamesh_imaging::RgbImage;
use mediamesh_inference::{
    EncodeError, Encoder, EngineKind, EngineReport, Family, LoadedModel, ModelSpec, PadRule,
    Pooling, Precision, Tower, Towers,
};
use mediamesh_mesh::{Policy, Registry, ServiceName};
use mediamesh_telemetry::Metrics;
use parking_lot::Mutex;

use super::*;
use crate::{
    flight::Flights,
    metrics::EmbeddingMetrics,
    pool::{Pool, Settings},
};

/// A model whose every run is told of and waits for leave.
struct Slow {
    spec: ModelSpec,
    tower: Tower,
    batch: usize,
    started: SyncSender<Vec<String>>,
    leave: Mutex<Receiver<()>>,
    inputs: AtomicUsize,
}

impl Slow {
    fn run(&self, names: Vec<String>) -> Result<Vec<Vec<f32>>, EncodeError> {
        self.inputs.fetch_add(names.len(), Ordering::SeqCst);
        let count = names.len();
        let bad = names.iter().any(|name| name == "bad");
        self.started.send(names).unwrap();
        self.leave.lock().recv().unwrap();
        match bad {
            true => Err(EncodeError::Output {
                tower: self.tower,
                what: "nothing".to_owned(),
            }),
            false => Ok(vec![vec![0.6, 0.8]; count]),
        }
    }
}

impl Encoder for Slow {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn tower(&self) -> Tower {
        self.tower
    }

    fn preferred_batch(&self) -> usize {
        self.batch
    }

    fn encode_texts(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EncodeError> {
        self.run(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    fn encode_images(&self, images: &[RgbImage]) -> Result<Vec<Vec<f32>>, EncodeError> {
        self.run(
            images
                .iter()
                .map(|image| image.data[0].to_string())
                .collect(),
        )
    }
}

/// A service with one thread, one slow model and no cache.
struct Rig {
    service: Arc<Service>,
    model: Arc<Model>,
    started: Receiver<Vec<String>>,
    leave: SyncSender<()>,
    slow: Arc<Slow>,
    metrics: EmbeddingMetrics,
}

fn rig(tower: Tower, batch: usize, options: Options) -> Rig {
    let (started_in, started) = sync_channel(64);
    let (leave, leave_out) = sync_channel(64);
    let spec = ModelSpec {
        id: "test/slow".to_owned(),
        version: "1".to_owned(),
        sha256: String::new(),
        family: Family::Clip,
        dims: 2,
        towers: Towers {
            text: tower == Tower::Text,
            image: tower == Tower::Image,
        },
        precision: Precision::F32,
        pooling: Pooling::Mean,
        normalize: true,
        max_len: 77,
        pad: PadRule::Longest,
        image: None,
    };
    let slow = Arc::new(Slow {
        spec: spec.clone(),
        tower,
        batch,
        started: started_in,
        leave: Mutex::new(leave_out),
        inputs: AtomicUsize::new(0),
    });
    let encoder = || Some(Arc::clone(&slow) as Arc<dyn Encoder>);
    let loaded = LoadedModel {
        spec: Arc::new(spec),
        text: if tower == Tower::Text {
            encoder()
        } else {
            None
        },
        image: if tower == Tower::Image {
            encoder()
        } else {
            None
        },
        report: EngineReport {
            engine: EngineKind::Rten,
            version: String::new(),
            provider: "cpu".to_owned(),
            precision: Precision::F32,
            source: "onnx".to_owned(),
            text_threads: 1,
            image_threads: 1,
            note: None,
        },
    };
    let options = Options {
        workers: 1,
        ..options
    };
    let registry = Metrics::new();
    let metrics = EmbeddingMetrics::new(&registry);
    // Nothing is registered: every call of the cache answers UNAVAILABLE.
    let channel = Registry::new(Policy::default(), &registry).channel(ServiceName::Cache);
    let cache = mediamesh_near::NearCache::without_memory(channel);
    let pool = Pool::start(Settings::from(&options), metrics.clone());
    let service = Service {
        models: Models::new(
            Some(loaded),
            "pull a model".to_owned(),
            "pull one for pictures".to_owned(),
        ),
        cache: VectorCache::new(cache, &options, metrics.clone()),
        flights: Flights::new(pool, metrics.clone()),
        decoding: Arc::new(Semaphore::new(1)),
        options,
    };
    let model = match tower {
        Tower::Text => service.models.for_texts("").unwrap(),
        Tower::Image => service
            .models
            .for_images(&["test/slow".to_owned()])
            .unwrap()
            .remove(0),
    };
    Rig {
        service: Arc::new(service),
        model,
        started,
        leave,
        slow,
        metrics,
    }
}

type Call = tokio::task::JoinHandle<Result<Vec<Made>, Error>>;

impl Rig {
    fn texts(&self, lane: Lane, texts: &[&str]) -> Call {
        let (service, model) = (Arc::clone(&self.service), Arc::clone(&self.model));
        let texts = texts.iter().map(|text| (*text).to_owned()).collect();
        tokio::spawn(async move { service.embed_texts(lane, &model, texts).await })
    }

    fn images(&self, images: &[u8]) -> Call {
        let (service, model) = (Arc::clone(&self.service), Arc::clone(&self.model));
        let images = (images.iter())
            .map(|&value| {
                let rgb = vec![value; 3].into();
                let source = crate::input::Source::Pixels {
                    width: 1,
                    height: 1,
                    rgb,
                };
                ImageInput::new("images[0]".to_owned(), source)
            })
            .collect();
        tokio::spawn(async move {
            let mut made = service
                .embed_images(Lane::Background, &[model], images)
                .await?;
            Ok(made.remove(0))
        })
    }

    /// The inputs of the next run, which has started and waits.
    async fn next_run(&self) -> Vec<String> {
        loop {
            match self.started.try_recv() {
                Ok(names) => return names,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
            }
        }
    }

    fn let_run(&self, runs: usize) {
        (0..runs).for_each(|_| self.leave.send(()).unwrap());
    }

    /// Waits until `count` inputs are in flight, running or not.
    async fn in_flight(&self, count: usize) {
        while self.service.flights.len() != count {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn a_query_overtakes_bulk_work_that_waits() {
    let rig = rig(Tower::Text, 1, Options::default());
    let first = rig.texts(Lane::Background, &["bulk 1"]);
    assert_eq!(rig.next_run().await, ["bulk 1"]);
    let bulk = rig.texts(Lane::Background, &["bulk 2", "bulk 3"]);
    rig.in_flight(3).await;
    let query = rig.texts(Lane::Interactive, &["query"]);
    rig.in_flight(4).await;
    rig.let_run(2);
    assert_eq!(rig.next_run().await, ["query"]);
    let made = query.await.unwrap().unwrap();
    assert_eq!(
        (made[0].values.as_slice(), made[0].from_cache),
        (&[0.6, 0.8][..], false)
    );
    assert!(!bulk.is_finished());
    rig.let_run(2);
    assert_eq!(bulk.await.unwrap().unwrap().len(), 2);
    first.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_query_for_what_waits_in_the_background_takes_it_forward() {
    let rig = rig(Tower::Text, 1, Options::default());
    let running = rig.texts(Lane::Background, &["running"]);
    rig.next_run().await;
    let bulk = rig.texts(Lane::Background, &["first", "wanted"]);
    rig.in_flight(3).await;
    let query = rig.texts(Lane::Interactive, &["wanted"]);
    while rig.metrics.coalesced.get() == 0 {
        tokio::task::yield_now().await;
    }
    rig.let_run(3);
    assert_eq!(rig.next_run().await, ["wanted"]);
    for call in [running, bulk, query] {
        call.await.unwrap().unwrap();
    }
    assert_eq!(rig.slow.inputs.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn identical_requests_in_flight_are_computed_once() {
    let rig = rig(Tower::Text, 1, Options::default());
    let calls: Vec<Call> = (0..5)
        .map(|_| rig.texts(Lane::Interactive, &["same"]))
        .collect();
    while rig.metrics.coalesced.get() < 4 {
        tokio::task::yield_now().await;
    }
    rig.let_run(1);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap()[0].values, [0.6, 0.8]);
    }
    assert_eq!(rig.slow.inputs.load(Ordering::SeqCst), 1);
    assert_eq!(rig.service.flights.len(), 0);
}

#[tokio::test]
async fn work_that_nobody_waits_for_is_not_run() {
    let rig = rig(Tower::Text, 1, Options::default());
    let running = rig.texts(Lane::Interactive, &["running"]);
    rig.next_run().await;
    let cancelled = rig.texts(Lane::Interactive, &["cancelled"]);
    rig.in_flight(2).await;
    cancelled.abort();
    assert!(cancelled.await.unwrap_err().is_cancelled());
    rig.in_flight(1).await;
    // A caller whose time is up goes away in the same manner.
    let late = mediamesh_mesh::deadline::scope(
        mediamesh_mesh::Deadline::after(std::time::Duration::from_millis(20)),
        rig.service
            .embed_texts(Lane::Interactive, &rig.model, vec!["late".to_owned()]),
    );
    assert!(matches!(late.await, Err(Error::DeadlineExceeded)));
    let last = rig.texts(Lane::Interactive, &["last"]);
    rig.in_flight(2).await;
    rig.let_run(2);
    assert_eq!(rig.next_run().await, ["last"]);
    running.await.unwrap().unwrap();
    last.await.unwrap().unwrap();
    assert_eq!(rig.metrics.abandoned.get(), 2);
}

#[tokio::test]
async fn background_images_of_one_model_run_together() {
    let options = Options {
        batch_wait_millis: 1000,
        max_batch: 4,
        ..Options::default()
    };
    let rig = rig(Tower::Image, 8, options);
    let calls = [rig.images(&[1, 2]), rig.images(&[3]), rig.images(&[4])];
    let mut run = rig.next_run().await;
    run.sort();
    assert_eq!(run, ["1", "2", "3", "4"]);
    rig.let_run(1);
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_bad_input_fails_alone() {
    let rig = rig(Tower::Text, 8, Options::default());
    let running = rig.texts(Lane::Background, &["running"]);
    rig.next_run().await;
    let bad = rig.texts(Lane::Background, &["bad"]);
    let good = rig.texts(Lane::Background, &["good"]);
    rig.in_flight(3).await;
    rig.let_run(4);
    assert!(matches!(bad.await.unwrap(), Err(Error::Encode(_))));
    good.await.unwrap().unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_full_queue_refuses_more() {
    let rig = rig(
        Tower::Text,
        1,
        Options {
            max_queue: 1,
            ..Options::default()
        },
    );
    let running = rig.texts(Lane::Interactive, &["running"]);
    rig.next_run().await;
    let waiting = rig.texts(Lane::Interactive, &["waiting"]);
    rig.in_flight(2).await;
    let refused = rig
        .texts(Lane::Interactive, &["refused"])
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(
        refused,
        Error::QueueFull {
            waiting: 1,
            limit: 1
        }
    ));
    rig.let_run(2);
    running.await.unwrap().unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_model_that_reads_text_only_says_how_to_search_pictures() {
    let list = rig(Tower::Text, 1, Options::default())
        .service
        .models
        .list();
    assert_eq!(
        (&*list.text_model, &*list.image_model),
        ("test/slow", "builtin/visual")
    );
    assert_eq!(list.hint, "pull one for pictures");
    assert_eq!(list.models[0].default_min_score, 0.20);
}
