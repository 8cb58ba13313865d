//! Calls of jobs that wait until there is room for them.
//!
//! Their calls are background calls, which an overloaded service refuses first and without having
//! started them. That is no failure of the job: were it one, a busy quarter of an hour of people's
//! searches would fail every import beside it. The time limit of the attempt bounds the patience.

use std::future::Future;
use std::time::Duration;

use mediamesh_proto::{ErrorReason, status::reason_of};
use tonic::{Response, Status};
use tonic_types::StatusExt as _;

/// Wait after the first refusal, if it has no advice.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// Longest wait: room that is free again should not stay empty for longer.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Makes a call, and makes it again for as long as it is refused for want of room.
///
/// Errors: those of the call, but for `LOAD_SHED`.
pub(super) async fn patiently<R, T, F>(request: R, call: impl Fn(R) -> F) -> Result<T, Status>
where
    R: Clone,
    F: Future<Output = Result<Response<T>, Status>>,
{
    let mut wait = FIRST_WAIT;
    loop {
        let status = match call(request.clone()).await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => status,
        };
        if reason_of(&status) != Some(ErrorReason::LoadShed) {
            return Err(status);
        }
        let advice = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay)
            .unwrap_or_default();
        tracing::debug!(?wait, "no room for a background call, waiting");
        tokio::time::sleep(wait.max(advice)).await;
        wait = (wait * 2).min(MAX_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use mediamesh_proto::{Error, ErrorKind};
    use tokio::time::Instant;
    use tonic::Code;

    use super::*;

    fn shed() -> Status {
        Error::new(ErrorKind::Overloaded, ErrorReason::LoadShed, "busy").into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_call_is_made_again_until_there_is_room() {
        let (calls, started) = (Cell::new(0), Instant::now());
        let answer = patiently("request", |request| {
            calls.set(calls.get() + 1);
            let refused = calls.get() < 20;
            async move {
                if refused {
                    Err(shed())
                } else {
                    Ok(Response::new(request))
                }
            }
        })
        .await;
        assert_eq!((answer.unwrap(), calls.get()), ("request", 20));
        assert!(started.elapsed() > MAX_WAIT * 10, "{:?}", started.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn other_failures_are_not_for_patience() {
        let failed = patiently((), |()| async {
            Err::<Response<()>, _>(Status::unavailable(""))
        });
        assert_eq!(failed.await.unwrap_err().code(), Code::Unavailable);
    }
}
