//! The pure part of processing: bytes in, everything derived from them out.

use bytes::Bytes;
use mediamesh_imaging::{self as imaging, Limits, Plan, RgbImage, exif};
use mediamesh_proto::ErrorReason;
use mediamesh_store::media::{Color, Exif, Orientation, Processed, Rendition};
use sha2::{Digest as _, Sha256};

use super::Failure;
use crate::words::search_text;

/// Everything derived from one decode.
pub(super) struct Derived {
    /// What is stored in the row; renditions are added when they are stored.
    pub(super) processed: Processed,
    /// Renditions and their files; the keys are still empty.
    pub(super) files: Vec<(Rendition, Bytes)>,
    /// Pixels for the models.
    pub(super) embedding_input: RgbImage,
}

/// Derives everything.
///
/// Errors: `Permanent` if the file is at fault.
/// Blocking: some hundred milliseconds for a photo of 24 megapixels.
pub(super) fn derive(original: &[u8], limits: &Limits, plan: &Plan) -> Result<Derived, Failure> {
    let made = imaging::process(original, limits, plan).map_err(failure)?;
    let camera = exif::read(original);
    let (width, height) = (pixels(made.probe.width), pixels(made.probe.height));
    let orientation = Orientation::of(width, height);
    let processed = Processed {
        width_pixels: width,
        height_pixels: height,
        capture_time: camera
            .as_ref()
            .and_then(|exif| exif.taken_at)
            .map(|taken| taken.unix_seconds() * 1_000_000 + i64::from(taken.nanosecond / 1_000)),
        colors: made.palette.iter().map(color).collect(),
        thumb_hash: made.thumb_hash,
        blur_hash: made.blur_hash,
        perceptual_hash: Some(made.perceptual_hash),
        search_text: search_text(camera.as_ref(), &made.palette, orientation),
        exif: camera.map(stored_exif),
        renditions: Vec::new(),
    };
    let files = made.renditions.into_iter().map(|file| {
        let rendition = Rendition {
            name: file.name,
            content_type: file.content_type.to_owned(),
            width_pixels: pixels(file.width),
            height_pixels: pixels(file.height),
            size_bytes: i64::try_from(file.bytes.len()).unwrap_or(i64::MAX),
            sha256: Sha256::digest(&file.bytes).into(),
            blob_key: String::new(),
        };
        (rendition, Bytes::from(file.bytes))
    });
    Ok(Derived {
        processed,
        files: files.collect(),
        embedding_input: made.embedding_input,
    })
}

fn pixels(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn color(swatch: &imaging::colors::Swatch) -> Color {
    let at = swatch.oklab;
    Color {
        hex: swatch.hex(),
        share: swatch.share,
        oklab: [at.l, at.a, at.b],
    }
}

fn stored_exif(exif: exif::Exif) -> Exif {
    Exif {
        camera_make: exif.make.unwrap_or_default(),
        camera_model: exif.model.unwrap_or_default(),
        lens_model: exif.lens.unwrap_or_default(),
        exposure_time: exif.exposure_secs.map(exposure).unwrap_or_default(),
        f_number: exif.f_number.unwrap_or_default() as f32,
        iso: exif.iso.map(pixels).unwrap_or_default(),
        focal_length_mm: exif.focal_length_mm.unwrap_or_default() as f32,
        position: exif.place.map(|place| (place.latitude, place.longitude)),
        altitude_metres: exif
            .place
            .and_then(|place| place.altitude_m)
            .map(|metres| metres as f32),
        tags: exif.tags,
    }
}

/// Below half a second as a fraction, the way cameras show it.
fn exposure(secs: f64) -> String {
    if secs > 0.0 && secs < 0.5 {
        format!("1/{:.0}", 1.0 / secs)
    } else {
        format!("{secs}")
    }
}

/// Sorts faults of a file; none of them goes away by trying again.
pub(super) fn failure(error: imaging::Error) -> Failure {
    use imaging::Fault;
    let reason = match error.fault() {
        Fault::Empty => ErrorReason::EmptyFile,
        Fault::Unsupported => ErrorReason::UnsupportedMediaType,
        Fault::TooCostly => ErrorReason::TooManyPixels,
        Fault::Corrupt => ErrorReason::CorruptImage,
        Fault::Ours => ErrorReason::Internal,
    };
    Failure::Permanent {
        reason,
        detail: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposure_reads_as_on_a_camera() {
        assert_eq!(exposure(0.004), "1/250");
        assert_eq!(exposure(1.0 / 3.0), "1/3");
        assert_eq!(exposure(2.5), "2.5");
    }
}
