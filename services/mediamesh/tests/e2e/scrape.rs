//! Numbers of `/metrics`, and waiting for them to move.

use std::time::Duration;

use anyhow::Result;
use mediamesh_testkit::Http;
use tokio::time::{Instant, sleep};

/// Longest wait for a number to move, on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Sum of the numbers of a metric whose labels are these; none is zero.
pub(crate) async fn metric(http: &Http, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
    let page = http.get("/metrics").await?.text();
    let numbers = page.lines().filter_map(|line| {
        let (of, number) = line.split_once(' ')?;
        let (found, own) = of.split_once('{').unwrap_or((of, ""));
        let has = |(key, value): &(&str, &str)| own.contains(&format!("{key}=\"{value}\""));
        let number = number.split(' ').next()?;
        (found == name && labels.iter().all(has)).then(|| number.parse::<f64>().ok())?
    });
    Ok(numbers.sum())
}

/// Waits until the number is as wanted.
pub(crate) async fn becomes(
    http: &Http,
    (name, labels): (&str, &[(&str, &str)]),
    wanted: impl Fn(f64) -> bool,
) -> Result<f64> {
    let end = Instant::now() + PATIENCE;
    loop {
        let now = metric(http, name, labels).await?;
        if wanted(now) {
            return Ok(now);
        }
        assert!(Instant::now() < end, "{name} {labels:?} is {now}");
        sleep(Duration::from_millis(10)).await;
    }
}
