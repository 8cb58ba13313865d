//! Settings of the embedding service.

use std::{num::NonZero, thread, time::Duration};

use mediamesh_imaging::Limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings of the embedding service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Threads that run models; 0 = the cores.
    pub workers: usize,
    /// Inputs of one model run together at most.
    pub max_batch: usize,
    /// Longest that a background image waits for others to share its batch, milliseconds.
    pub batch_wait_millis: u64,
    /// Inputs that may wait for a thread; calls beyond are refused.
    pub max_queue: usize,
    /// Most texts of one call.
    pub max_texts: usize,
    /// Longest text in bytes.
    pub max_text_bytes: usize,
    /// Most images of one call.
    pub max_images: usize,
    /// Most pixels of an image.
    pub max_image_pixels: u64,
    /// Most memory that decoding one image may take, in bytes; as many are decoded at once as there
    /// are cores.
    pub max_image_memory_bytes: u64,
    /// Longest side in pixels to which an image file is shrunk before models see it.
    pub image_side: u32,
    /// How long vectors are cached, seconds; 0 = not at all.
    pub cache_ttl_secs: u64,
    /// Longest wait for the cache service, milliseconds; then the vector is computed.
    pub cache_timeout_millis: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: 0,
            max_batch: 8,
            batch_wait_millis: 2,
            max_queue: 8192,
            max_texts: 256,
            max_text_bytes: 32 * 1024,
            max_images: 32,
            max_image_pixels: Limits::default().max_pixels,
            max_image_memory_bytes: Limits::default().max_alloc_bytes,
            // Above what any supported image tower reads; bounds the memory of a call of 32.
            image_side: 512,
            cache_ttl_secs: 7 * 24 * 3600,
            cache_timeout_millis: 500,
        }
    }
}

impl Options {
    /// Every fault of these settings, one sentence each.
    #[must_use]
    pub fn validate(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, value) in [
            ("max_batch", self.max_batch as u64),
            ("max_queue", self.max_queue as u64),
            ("max_texts", self.max_texts as u64),
            ("max_text_bytes", self.max_text_bytes as u64),
            ("max_images", self.max_images as u64),
            ("max_image_pixels", self.max_image_pixels),
            ("max_image_memory_bytes", self.max_image_memory_bytes),
            ("image_side", u64::from(self.image_side)),
            ("cache_timeout_millis", self.cache_timeout_millis),
        ] {
            if value == 0 {
                faults.push(format!("embedding.{name} is 0; it must be at least 1"));
            }
        }
        if self.max_queue < self.max_texts.max(self.max_images) {
            faults.push(format!(
                "embedding.max_queue is {}; it must hold one call of embedding.max_texts ({}) or \
                 embedding.max_images ({})",
                self.max_queue, self.max_texts, self.max_images
            ));
        }
        if self.batch_wait_millis > 1000 {
            faults.push(format!(
                "embedding.batch_wait_millis is {}; limit is 1000",
                self.batch_wait_millis
            ));
        }
        faults
    }

    pub(crate) fn workers(&self) -> usize {
        match self.workers {
            0 => thread::available_parallelism().map_or(1, NonZero::get),
            workers => workers,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            max_pixels: self.max_image_pixels,
            max_alloc_bytes: self.max_image_memory_bytes,
            ..Limits::default()
        }
    }

    pub(crate) fn batch_wait(&self) -> Duration {
        Duration::from_millis(self.batch_wait_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_told_at_once_and_the_defaults_have_none() {
        assert_eq!(Options::default().validate(), Vec::<String>::new());
        let bad = Options {
            max_batch: 0,
            max_queue: 10,
            batch_wait_millis: 5000,
            ..Options::default()
        };
        assert_eq!(bad.validate().len(), 3);
    }

    #[test]
    fn unknown_keys_are_errors() {
        assert!(serde_json::from_str::<Options>(r#"{"worker": 1}"#).is_err());
    }
}
