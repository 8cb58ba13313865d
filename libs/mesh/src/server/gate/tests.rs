use std::time::Duration;

use futures::FutureExt as _;
use mediamesh_telemetry::Metrics;

use super::*;

const INTERACTIVE: Call = Call {
    priority: Priority::Interactive,
    method: 0,
    flow: Flow::Unary,
};
const BACKGROUND: Call = Call {
    priority: Priority::Background,
    ..INTERACTIVE
};
const UPLOAD: Call = Call {
    flow: Flow::Sends,
    ..INTERACTIVE
};

const DOWNLOAD: Call = Call {
    flow: Flow::Answers,
    ..INTERACTIVE
};

fn gate(running: usize, max_running: usize, max_in_flight: usize) -> Arc<Gate> {
    let limits = Limits {
        max_running,
        max_in_flight,
        max_streams: 2,
        min_running: running,
        initial_running: running,
        background_percent: 50,
        max_wait: Duration::from_millis(400),
    };
    let metrics = LoadMetrics::new(&Metrics::new(), "media");
    Arc::new(Gate::new("media", limits, 1, metrics))
}

/// Enters where no wait is expected.
fn enter(gate: &Arc<Gate>, call: Call) -> Result<Place, Refusal> {
    gate.enter(call).now_or_never().expect("no wait")
}

fn wait(gate: &Arc<Gate>, call: Call) -> tokio::task::JoinHandle<Result<Place, Refusal>> {
    let gate = Arc::clone(gate);
    tokio::spawn(async move { gate.enter(call).await })
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_go_in_when_a_place_is_free() {
    let gate = gate(2, 2, 4);
    let (first, _second) = (
        enter(&gate, INTERACTIVE).unwrap(),
        enter(&gate, INTERACTIVE).unwrap(),
    );
    let third = wait(&gate, INTERACTIVE);
    let fourth = wait(&gate, INTERACTIVE);
    settle().await;
    assert_eq!(enter(&gate, INTERACTIVE).unwrap_err(), Refusal::Full);
    drop(first);
    let third = third.await.unwrap().expect("it was its turn");
    assert!(!fourth.is_finished());
    drop(third);
    fourth.await.unwrap().expect("it was its turn");
    let load = gate.load();
    assert_eq!((load.working, load.waiting, load.refused), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_too_long_is_refused_though_nothing_ends() {
    let gate = gate(1, 1, 4);
    let _place = enter(&gate, INTERACTIVE).unwrap();
    let started = Instant::now();
    let refusal = gate.enter(INTERACTIVE).await.unwrap_err();
    assert_eq!(refusal, Refusal::Late);
    assert_eq!(started.elapsed().as_millis(), 400);
    assert_eq!((gate.load().waiting, gate.load().refused), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn background_calls_hold_their_part_and_leave_the_rest_free() {
    let gate = gate(4, 4, 8);
    let _first = enter(&gate, BACKGROUND).unwrap();
    let _second = enter(&gate, BACKGROUND).unwrap();
    let third = wait(&gate, BACKGROUND);
    settle().await;
    assert_eq!(gate.load().waiting_in_background, 1);
    let people = [
        enter(&gate, INTERACTIVE).unwrap(),
        enter(&gate, INTERACTIVE).unwrap(),
    ];
    let person = wait(&gate, INTERACTIVE);
    settle().await;
    drop(people);
    person.await.unwrap().expect("before the background call");
    assert!(!third.is_finished(), "it has to wait for its own part");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_background_call_gives_way_when_there_is_no_room_to_wait() {
    let gate = gate(1, 1, 2);
    let place = enter(&gate, INTERACTIVE).unwrap();
    let background = wait(&gate, BACKGROUND);
    settle().await;
    assert_eq!(enter(&gate, BACKGROUND).unwrap_err(), Refusal::Full);
    let person = wait(&gate, INTERACTIVE);
    assert_eq!(background.await.unwrap().unwrap_err(), Refusal::GaveWay);
    drop(place);
    person.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_being_read_counts_against_the_bounds() {
    let gate = gate(1, 2, 2);
    let mut reading = enter(&gate, INTERACTIVE).unwrap();
    reading.head();
    let load = gate.load();
    assert_eq!((load.working, load.streaming), (0, 1));
    let working = enter(&gate, INTERACTIVE).unwrap();
    assert_eq!(enter(&gate, INTERACTIVE).unwrap_err(), Refusal::Full);
    drop((working, reading));
    enter(&gate, INTERACTIVE).unwrap();
    let load = gate.load();
    assert_eq!((load.working, load.streaming, load.waiting), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn streams_keep_each_other_out_and_nobody_else() {
    let gate = gate(1, 1, 1);
    let mut download = enter(&gate, DOWNLOAD).unwrap();
    download.head();
    let upload = enter(&gate, UPLOAD).unwrap();
    for late in [DOWNLOAD, UPLOAD] {
        assert_eq!(enter(&gate, late).unwrap_err(), Refusal::Streams);
    }
    let working = enter(&gate, INTERACTIVE).expect("two streams are no bar");
    assert_eq!(gate.load().streaming, 2);
    drop((upload, working));
    enter(&gate, DOWNLOAD).unwrap();
    drop(download);
    assert_eq!(gate.load().streaming, 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_gives_its_place_back_however_late() {
    let gate = gate(1, 1, 8);
    let place = enter(&gate, INTERACTIVE).unwrap();
    let mut gone = Box::pin(gate.enter(INTERACTIVE));
    assert!(gone.as_mut().now_or_never().is_none());
    // It has the place already, but has not been told when its caller goes.
    drop(place);
    assert_eq!(gate.load().working, 1);
    drop(gone);
    assert_eq!(gate.load().working, 0);
    let place = enter(&gate, INTERACTIVE).unwrap();
    let mut gone = Box::pin(gate.enter(INTERACTIVE));
    assert!(gone.as_mut().now_or_never().is_none());
    drop(gone);
    drop(place);
    enter(&gate, INTERACTIVE).expect("the queue holds nobody");
}

#[tokio::test(start_paused = true)]
async fn streams_that_wait_are_never_more_than_may_be_open() {
    for stream in [DOWNLOAD, UPLOAD] {
        // five at a time work, of whom two may be streams
        let gate = gate(5, 5, 50);
        let working: Vec<Place> = (0..5).map(|_| enter(&gate, INTERACTIVE).unwrap()).collect();
        let burst: Vec<_> = (0..20).map(|_| wait(&gate, stream)).collect();
        let unary = wait(&gate, INTERACTIVE);
        settle().await;
        drop(working);
        let mut open = Vec::new();
        for waited in burst {
            match waited.await.unwrap() {
                Ok(mut place) => {
                    place.head();
                    open.push(place);
                }
                Err(refusal) => assert_eq!(refusal, Refusal::Streams),
            }
            assert!(gate.load().streaming <= 2, "{:?}", gate.load());
        }
        assert_eq!(open.len(), 2, "{stream:?}");
        unary.await.unwrap().expect("streams are no bar to it");
        assert_eq!(gate.load().refused, 18);
        drop(open);
        // what was promised to them is free again
        let again: Vec<Place> = (0..2).map(|_| enter(&gate, stream).unwrap()).collect();
        assert_eq!(enter(&gate, stream).unwrap_err(), Refusal::Streams);
        drop(again);
        enter(&gate, stream).unwrap();
    }
}
