//! Text to token ids, as the reference tokenizers do it.

use std::path::Path;

use serde_json::Value;
use tokenizers::{Tokenizer, TruncationParams};

use crate::encoder::EncodeError;
use crate::load::LoadError;
use crate::spec::PadRule;

/// A tokenizer with the model's own length and padding, whatever `tokenizer.json` says of them:
/// MiniLM's file, for one, pads every text to 128 tokens and cuts at 128 where the model takes 256.
pub(crate) struct TextTokenizer {
    inner: Tokenizer,
    pad: PadRule,
    pad_id: i64,
    specials: usize,
}

/// A batch of equally long token sequences.
pub(crate) struct TokenBatch {
    /// Tokens per text.
    pub(crate) len: usize,
    /// `[n, len]` token ids.
    pub(crate) ids: Vec<i64>,
    /// `[n, len]`, 1 for a token and 0 for padding.
    pub(crate) mask: Vec<i64>,
}

impl TextTokenizer {
    /// Reads `tokenizer.json` and the padding token of the directory. Blocking.
    pub(crate) fn open(dir: &Path, max_len: usize, pad: PadRule) -> Result<Self, LoadError> {
        let path = dir.join("tokenizer.json");
        let bytes = std::fs::read(&path)
            .map_err(|source| LoadError::read(dir, "tokenizer.json", source))?;
        let bad = |source| LoadError::Tokenizer {
            path: path.clone(),
            source,
        };
        let mut inner = Tokenizer::from_bytes(&bytes).map_err(bad)?;
        let pad_id = pad_id(dir, &inner);
        inner.with_padding(None);
        let truncation = TruncationParams {
            max_length: max_len,
            ..Default::default()
        };
        inner.with_truncation(Some(truncation)).map_err(bad)?;
        let specials = inner.encode_fast("", true).map_err(bad)?.len();
        Ok(Self {
            inner,
            pad,
            pad_id,
            specials,
        })
    }

    /// Turns texts into one padded batch.
    pub(crate) fn batch(&self, texts: &[&str]) -> Result<TokenBatch, EncodeError> {
        let encodings = texts
            .iter()
            .map(|text| {
                self.inner
                    .encode_fast(*text, true)
                    .map_err(EncodeError::Tokenize)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let len = match self.pad {
            PadRule::Longest => encodings.iter().map(|e| e.len()).max().unwrap_or(0),
            PadRule::Fixed(len) => len,
        };
        let mut batch = TokenBatch {
            len,
            ids: Vec::new(),
            mask: Vec::new(),
        };
        for encoding in &encodings {
            let padding = len - encoding.len();
            batch
                .ids
                .extend(encoding.get_ids().iter().map(|&id| i64::from(id)));
            batch.ids.extend(std::iter::repeat_n(self.pad_id, padding));
            batch.mask.extend(std::iter::repeat_n(1, encoding.len()));
            batch.mask.extend(std::iter::repeat_n(0, padding));
        }
        Ok(batch)
    }

    /// Tokens of a text before truncation, special ones included.
    pub(crate) fn count(&self, text: &str) -> Result<usize, EncodeError> {
        let encoding = self
            .inner
            .encode_fast(text, true)
            .map_err(EncodeError::Tokenize)?;
        // What truncation cut off comes in pieces that carry the special tokens again.
        let cut: usize = encoding
            .get_overflowing()
            .iter()
            .map(|piece| piece.len().saturating_sub(self.specials))
            .sum();
        Ok(encoding.len() + cut)
    }
}

/// Finds the padding token where Hugging Face keeps it, newest place first.
fn pad_id(dir: &Path, tokenizer: &Tokenizer) -> i64 {
    let named = ["tokenizer_config.json", "special_tokens_map.json"]
        .iter()
        .find_map(|file| {
            let json: Value = serde_json::from_slice(&std::fs::read(dir.join(file)).ok()?).ok()?;
            let pad = json.get("pad_token")?;
            let token = pad.as_str().or_else(|| pad.get("content")?.as_str())?;
            tokenizer.token_to_id(token)
        });
    let id = named.or_else(|| tokenizer.get_padding().map(|padding| padding.pad_id));
    i64::from(id.unwrap_or(0))
}
