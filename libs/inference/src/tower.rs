//! Encoders: a graph with what stands before and behind it.

use std::sync::Arc;

use mediamesh_imaging::RgbImage;

use crate::encoder::{EncodeError, Encoder};
use crate::engine::EngineKind;
use crate::engine::graph::{Array, Graph, Output};
use crate::preprocess::append_pixels;
use crate::spec::{ImageSpec, ModelSpec, Pooling, Tower};
use crate::tokenize::{TextTokenizer, TokenBatch};

/// Texts per run. Longer lists are cut, so that padding and memory stay bounded.
const TEXT_BATCH: usize = 16;
/// Images per run: beyond 8 the throughput no longer grows (measured 2026-11-20).
const IMAGE_BATCH: usize = 8;

/// Encodes text.
pub(crate) struct TextTower {
    pub(crate) spec: Arc<ModelSpec>,
    pub(crate) engine: EngineKind,
    pub(crate) graph: Arc<dyn Graph>,
    pub(crate) output: String,
    pub(crate) tokenizer: TextTokenizer,
}

impl Encoder for TextTower {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn tower(&self) -> Tower {
        Tower::Text
    }

    fn preferred_batch(&self) -> usize {
        TEXT_BATCH
    }

    fn encode_texts(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EncodeError> {
        let mut vectors = Vec::with_capacity(texts.len());
        for chunk in texts.chunks(TEXT_BATCH) {
            let batch = self.tokenizer.batch(chunk)?;
            let output = self.run(&batch, chunk.len())?;
            let rows = self.pool(output, &batch, chunk.len())?;
            vectors.extend(unit_rows(rows, chunk.len(), self.spec.dims, Tower::Text)?);
        }
        Ok(vectors)
    }

    fn count_tokens(&self, text: &str) -> Result<usize, EncodeError> {
        self.tokenizer.count(text)
    }
}

impl TextTower {
    fn run(&self, batch: &TokenBatch, n: usize) -> Result<Output, EncodeError> {
        let shape = || vec![n, batch.len];
        let inputs = self
            .graph
            .inputs()
            .iter()
            .map(|name| {
                let array = match name.as_str() {
                    "attention_mask" => Array::I64(shape(), batch.mask.clone()),
                    "token_type_ids" => Array::I64(shape(), vec![0; n * batch.len]),
                    _ => Array::I64(shape(), batch.ids.clone()),
                };
                (name.as_str(), array)
            })
            .collect();
        self.graph
            .run(inputs, &self.output)
            .map_err(|source| EncodeError::Run {
                engine: self.engine.as_str(),
                tower: Tower::Text,
                source,
            })
    }

    /// Brings `[n, len, dims]` token states to `[n, dims]`; other graphs pool for themselves.
    fn pool(&self, output: Output, batch: &TokenBatch, n: usize) -> Result<Output, EncodeError> {
        let dims = self.spec.dims;
        let [rows, len, width] = output.shape[..] else {
            return Ok(output);
        };
        if (rows, len, width) != (n, batch.len, dims) {
            return Err(wrong_shape(&output, Tower::Text));
        }
        let mut pooled = vec![0.0_f32; n * dims];
        let states = output
            .values
            .chunks_exact(len * dims)
            .zip(batch.mask.chunks_exact(len));
        for (sum, (states, mask)) in pooled.chunks_exact_mut(dims).zip(states) {
            if self.spec.pooling == Pooling::Cls {
                sum.copy_from_slice(&states[..dims]);
                continue;
            }
            // The division by the count is left out: the vector is scaled to unit length anyway.
            for (state, _) in states
                .chunks_exact(dims)
                .zip(mask)
                .filter(|(_, keep)| **keep == 1)
            {
                sum.iter_mut()
                    .zip(state)
                    .for_each(|(sum, value)| *sum += value);
            }
        }
        Ok(Output {
            shape: vec![n, dims],
            values: pooled,
        })
    }
}

/// Encodes images.
pub(crate) struct ImageTower {
    pub(crate) spec: Arc<ModelSpec>,
    pub(crate) image: ImageSpec,
    pub(crate) engine: EngineKind,
    pub(crate) graph: Arc<dyn Graph>,
    pub(crate) output: String,
}

impl Encoder for ImageTower {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn tower(&self) -> Tower {
        Tower::Image
    }

    fn preferred_batch(&self) -> usize {
        IMAGE_BATCH
    }

    fn encode_images(&self, images: &[RgbImage]) -> Result<Vec<Vec<f32>>, EncodeError> {
        let mut vectors = Vec::with_capacity(images.len());
        let size = [3, self.image.height as usize, self.image.width as usize];
        for chunk in images.chunks(IMAGE_BATCH) {
            let mut pixels = Vec::with_capacity(chunk.len() * size.iter().product::<usize>());
            for image in chunk {
                append_pixels(image, &self.image, &mut pixels)?;
            }
            let shape = [chunk.len()].into_iter().chain(size).collect();
            let name = self
                .graph
                .inputs()
                .first()
                .map_or("pixel_values", String::as_str);
            let run = self
                .graph
                .run(vec![(name, Array::F32(shape, pixels))], &self.output);
            let output = run.map_err(|source| EncodeError::Run {
                engine: self.engine.as_str(),
                tower: Tower::Image,
                source,
            })?;
            vectors.extend(unit_rows(
                output,
                chunk.len(),
                self.spec.dims,
                Tower::Image,
            )?);
        }
        Ok(vectors)
    }
}

/// Splits `[n, dims]` into vectors of unit length.
fn unit_rows(
    output: Output,
    n: usize,
    dims: usize,
    tower: Tower,
) -> Result<Vec<Vec<f32>>, EncodeError> {
    if output.shape != [n, dims] {
        return Err(wrong_shape(&output, tower));
    }
    let unit = |row: &[f32]| {
        let norm = row
            .iter()
            .map(|&v| f64::from(v) * f64::from(v))
            .sum::<f64>()
            .sqrt();
        if !norm.is_finite() || norm == 0.0 {
            return Err(EncodeError::Output {
                tower,
                what: format!("a vector of norm {norm}"),
            });
        }
        Ok(row.iter().map(|&v| (f64::from(v) / norm) as f32).collect())
    };
    output.values.chunks_exact(dims).map(unit).collect()
}

fn wrong_shape(output: &Output, tower: Tower) -> EncodeError {
    EncodeError::Output {
        tower,
        what: format!("a tensor of unexpected shape {:?}", output.shape),
    }
}
