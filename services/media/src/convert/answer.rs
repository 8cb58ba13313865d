//! Items, renditions, folders and jobs as messages.

use mediamesh_proto::{
    MediaItemId,
    media::v1::{
        DominantColor, EmbeddingPresence, Exif, Folder, GeoPoint, GetQueueStatsResponse,
        ItemJobCount, Job, KindCount, MediaItem, MediaItemProcessing, QueueLimit, QueuePause,
        Rendition, Schedule, queue_limit,
    },
    time::{now_micros, timestamp},
};
use mediamesh_store::{
    job::{self, Pause, QueueStats, RATE_WINDOW},
    limit::{self, Reached},
    media, schedule,
};

/// Digits of a rendition's hash in its address: enough to tell two versions of it apart.
const VERSION_DIGITS: usize = 12;

/// An item with its renditions, smallest first.
#[must_use]
pub fn item(item: media::MediaItem, mut renditions: Vec<media::Rendition>) -> MediaItem {
    let id = item.id.to_string();
    renditions.sort_by(|a, b| {
        (a.width_pixels, a.height_pixels, &a.name).cmp(&(b.width_pixels, b.height_pixels, &b.name))
    });
    // Items without pixels, videos among them, have nothing that is made of pixels.
    let has_pixels = item.width_pixels > 0;
    MediaItem {
        kind: item.kind as i32,
        state: item.state as i32,
        failure_reason: item.failure_reason,
        failure_detail: item.failure_detail,
        display_name: item.display_name,
        folder: item.folder,
        tags: item.tags,
        caption: item.caption,
        content_type: item.content_type,
        size_bytes: item.size_bytes,
        sha256: hex::encode(item.sha256),
        width_pixels: known(item.width_pixels),
        height_pixels: known(item.height_pixels),
        orientation: item.orientation as i32,
        capture_time: item.capture_time.map(timestamp),
        create_time: Some(timestamp(item.create_time)),
        update_time: Some(timestamp(item.update_time)),
        colors: item
            .colors
            .into_iter()
            .map(|color| DominantColor {
                hex: color.hex,
                share: color.share,
            })
            .collect(),
        thumb_hash: known(item.thumb_hash).map(Into::into),
        blur_hash: known(item.blur_hash),
        perceptual_hash: item
            .perceptual_hash
            .filter(|_| has_pixels)
            .map(|hash| format!("{hash:016x}")),
        exif: item.exif.map(exif),
        renditions: renditions
            .into_iter()
            .map(|found| rendition(&id, found))
            .collect(),
        content_uri: format!("/v1/mediaItems/{id}/content"),
        etag: item.version.to_string(),
        uploader: item.uploader.unwrap_or_default(),
        id,
    }
}

/// What was derived from an item.
#[must_use]
pub fn processing(id: MediaItemId, derived: media::Derived) -> MediaItemProcessing {
    let embeddings = derived.embeddings.into_iter();
    MediaItemProcessing {
        media_item_id: id.to_string(),
        embeddings: embeddings
            .map(|(model, time)| EmbeddingPresence {
                model,
                create_time: Some(timestamp(time)),
            })
            .collect(),
        jobs: derived
            .jobs
            .iter()
            .map(|jobs| ItemJobCount {
                kind: i32::from(jobs.kind),
                state: i32::from(jobs.state),
                job_count: steps(jobs.count),
                last_end_time: jobs.last_end_time.map(timestamp),
            })
            .collect(),
    }
}

/// Rows hold zero or nothing for what is not known.
fn known<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

fn rendition(item_id: &str, found: media::Rendition) -> Rendition {
    let version = hex::encode(found.sha256);
    Rendition {
        uri: format!(
            "/v1/mediaItems/{item_id}/renditions/{}?v={}",
            found.name,
            &version[..VERSION_DIGITS]
        ),
        name: found.name,
        content_type: found.content_type,
        width_pixels: found.width_pixels,
        height_pixels: found.height_pixels,
        size_bytes: found.size_bytes,
    }
}

fn exif(exif: media::Exif) -> Exif {
    Exif {
        camera_make: exif.camera_make,
        camera_model: exif.camera_model,
        lens_model: exif.lens_model,
        exposure_time: exif.exposure_time,
        f_number: known(exif.f_number),
        iso: known(exif.iso),
        focal_length_mm: known(exif.focal_length_mm),
        position: exif.position.map(|(latitude, longitude)| GeoPoint {
            latitude,
            longitude,
            altitude_metres: exif.altitude_metres,
        }),
        tags: exif.tags.into_iter().collect(),
    }
}

/// A folder.
#[must_use]
pub fn folder(folder: media::Folder) -> Folder {
    Folder {
        path: folder.path,
        media_item_count: folder.count,
    }
}

/// A job.
#[must_use]
pub fn job(job: job::Job) -> Job {
    let tree_id = job.tree_id.map(|id| id.to_string());
    let (schedule, schedule_time) = job.tick.map(|tick| (tick.schedule, tick.time)).unzip();
    Job {
        id: job.id.to_string(),
        kind: job.kind as i32,
        state: job.state as i32,
        progress: match job.state {
            job::JobState::Succeeded => 1.0,
            _ => job.progress.share(),
        },
        progress_current: steps(job.progress.current),
        progress_total: steps(job.progress.total),
        progress_message: job.progress.message,
        media_item_id: job
            .media_item_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        attempts: job.attempts,
        max_attempts: job.max_attempts,
        priority: i32::from(job.priority),
        last_error: job.last_error,
        create_time: Some(timestamp(job.create_time)),
        start_time: job.start_time.map(timestamp),
        end_time: job.end_time.map(timestamp),
        schedule: schedule.unwrap_or_default(),
        schedule_time: schedule_time.map(timestamp),
        job_tree_id: tree_id.unwrap_or_default(),
        step: job.step,
    }
}

/// A schedule and the time that it is due next.
#[must_use]
pub fn schedule((found, next): (schedule::Schedule, Option<i64>)) -> Schedule {
    let definition = found.definition;
    Schedule {
        name: definition.name,
        kind: definition.kind as i32,
        cron: definition.cron,
        time_zone: definition.time_zone,
        catch_up: definition.catch_up as i32,
        max_catch_up: definition.max_catch_up,
        enabled: definition.enabled,
        next_time: next.map(timestamp),
        last_time: Some(timestamp(found.last_tick)),
        last_job: found.last_job.map(job),
    }
}

fn steps(count: i64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Pauses.
#[must_use]
pub fn pauses(pauses: &[Pause]) -> Vec<QueuePause> {
    let pause = |pause: &Pause| QueuePause {
        kind: pause.kind.map_or(0, |kind| kind as i32),
        until_time: pause.until.map(timestamp),
        create_time: Some(timestamp(pause.create_time)),
    };
    pauses.iter().map(pause).collect()
}

fn limit(reached: &Reached) -> QueueLimit {
    use queue_limit::{Bound, Scope};
    let scope = reached.scope.tenant.map_or(Scope::All, |_| Scope::Tenant);
    let bound = match reached.bound {
        limit::Bound::Running => Bound::Running,
        limit::Bound::Starts => Bound::StartsPerMinute,
    };
    QueueLimit {
        scope: scope as i32,
        kind: reached.scope.kind.map_or(0, |kind| kind as i32),
        bound: bound as i32,
        limit: reached.limit,
        held_back_count: reached.held_back,
    }
}

/// Counts of jobs.
#[must_use]
pub fn queue_stats(
    stats: &QueueStats,
    paused: &[Pause],
    reached: &[Reached],
) -> GetQueueStatsResponse {
    let per_minute = |count: i64| count as f64 * 60.0 / RATE_WINDOW.as_secs_f64();
    let age = stats
        .oldest_waiting
        .map_or(0, |time| now_micros().saturating_sub(time).max(0));
    GetQueueStatsResponse {
        waiting: stats.waiting,
        active: stats.active,
        completed: stats.completed,
        failed: stats.failed,
        delayed: stats.delayed,
        oldest_waiting_age_seconds: age as f64 / 1e6,
        stalled: stats.stalled,
        cancelled: stats.cancelled,
        succeeded_per_minute: per_minute(stats.succeeded_lately),
        failed_per_minute: per_minute(stats.failed_lately),
        kinds: stats
            .kinds
            .iter()
            .map(|(kind, state, count)| KindCount {
                kind: i32::from(*kind),
                state: i32::from(*state),
                job_count: *count,
            })
            .collect(),
        pauses: pauses(paused),
        limits: reached.iter().map(limit).collect(),
        blocked: stats.blocked,
    }
}
