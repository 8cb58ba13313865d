//! Tensors of a safetensors file, read one at a time so that no second copy of the file is held.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata};

/// A header larger than this is not a model: 100 MB is the format's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Why a weight could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The safetensors file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// The header is not one.
    #[error("{} is not a safetensors file", path.display())]
    Header {
        /// The safetensors file.
        path: PathBuf,
        /// What was wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The family's graph needs a tensor the file does not hold.
    #[error("weights have no tensor {name}")]
    Missing {
        /// Name of the tensor.
        name: String,
    },
    /// The tensor's shape is not what the config promises.
    #[error("tensor {name} has shape {found:?}; the config asks for {wanted:?}")]
    Shape {
        /// Name of the tensor.
        name: String,
        /// Shape in the file.
        found: Vec<usize>,
        /// Shape by the config.
        wanted: Vec<usize>,
    },
    /// The tensor is of a type no weight has.
    #[error("tensor {name} is of type {dtype}; f32, f16 and bf16 are supported")]
    Type {
        /// Name of the tensor.
        name: String,
        /// Its type.
        dtype: String,
    },
}

/// An open safetensors file and its header.
pub(crate) struct SafeTensorsFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    data_start: u64,
}

impl SafeTensorsFile {
    /// Opens a file and checks its header. Blocking.
    pub(crate) fn open(path: &Path) -> Result<Self, WeightsError> {
        let read = |source| WeightsError::Read {
            path: path.to_owned(),
            source,
        };
        let bad = |source: Box<dyn std::error::Error + Send + Sync>| WeightsError::Header {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(read)?;
        let file_len = file.metadata().map_err(read)?.len();
        let mut length = [0_u8; 8];
        file.read_exact(&mut length).map_err(read)?;
        let header_len = u64::from_le_bytes(length);
        if header_len > MAX_HEADER_BYTES || header_len + 8 > file_len {
            return Err(bad("header length is beyond the file".into()));
        }
        let mut header = vec![0_u8; header_len as usize];
        file.read_exact(&mut header).map_err(read)?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|error| bad(Box::new(error)))?;
        let data_start = header_len + 8;
        if data_start + metadata.data_len() as u64 != file_len {
            return Err(bad(format!(
                "holds {file_len} bytes; its header promises {}",
                data_start + metadata.data_len() as u64
            )
            .into()));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            metadata,
            data_start,
        })
    }

    /// Whether the file holds this tensor.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.metadata.info(name).is_some()
    }

    /// Shape of a tensor.
    pub(crate) fn shape(&self, name: &str) -> Result<Vec<usize>, WeightsError> {
        let info = self
            .metadata
            .info(name)
            .ok_or_else(|| WeightsError::Missing {
                name: name.to_owned(),
            })?;
        Ok(info.shape.clone())
    }

    /// Reads a tensor, widened to f32 (exact for f16 and bf16).
    pub(crate) fn read(&mut self, name: &str) -> Result<Vec<f32>, WeightsError> {
        let info = self
            .metadata
            .info(name)
            .ok_or_else(|| WeightsError::Missing {
                name: name.to_owned(),
            })?;
        let (start, end) = info.data_offsets;
        let read = |source| WeightsError::Read {
            path: self.path.clone(),
            source,
        };
        let mut bytes = vec![0_u8; end - start];
        self.file
            .seek(SeekFrom::Start(self.data_start + start as u64))
            .map_err(read)?;
        self.file.read_exact(&mut bytes).map_err(read)?;
        let (pairs, quads) = (bytes.as_chunks::<2>().0, bytes.as_chunks::<4>().0);
        Ok(match info.dtype {
            Dtype::F32 => quads.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Dtype::F16 => pairs
                .iter()
                .map(|b| f16::from_le_bytes(*b).to_f32())
                .collect(),
            Dtype::BF16 => pairs
                .iter()
                .map(|b| bf16::from_le_bytes(*b).to_f32())
                .collect(),
            other => {
                return Err(WeightsError::Type {
                    name: name.to_owned(),
                    dtype: format!("{other:?}"),
                });
            }
        })
    }
}
