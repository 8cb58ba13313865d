//! Text to token ids, as the reference tokenizers do it.

use std::path::Path;

use serde_json::Value;
use tokenizers::{Tokenizer, TruncationParams};

use crate::encoder::EncodeError;
use crate::load::LoadError;
use crate::spec::{PadRule, Pooling};

/// A tokenizer with the model's own length and padding, whatever `tokenizer.json` says of them:
/// MiniLM's file, for one, pads every text to 128 tokens and cuts at 128 where the model takes 256.
pub(crate) struct TextTokenizer {
    inner: Tokenizer,
    pad: PadRule,
    pad_id: i64,
    specials: usize,
    /// Token that ends a text for the model, if the model looks for it.
    end: Option<u32>,
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
    pub(crate) fn open(
        dir: &Path,
        max_len: usize,
        pad: PadRule,
        pooling: Pooling,
    ) -> Result<Self, LoadError> {
        let path = dir.join("tokenizer.json");
        let bytes = std::fs::read(&path)
            .map_err(|source| LoadError::read(dir, "tokenizer.json", source))?;
        let bad = |source| LoadError::Tokenizer {
            path: path.clone(),
            source,
        };
        let mut inner = Tokenizer::from_bytes(&bytes).map_err(bad)?;
        let mut pad_id = pad_id(dir, &inner);
        inner.with_padding(None);
        let truncation = TruncationParams {
            max_length: max_len,
            ..Default::default()
        };
        inner.with_truncation(Some(truncation)).map_err(bad)?;
        let empty = inner.encode_fast("", true).map_err(bad)?;
        let end = (pooling == Pooling::EndOfText)
            .then(|| empty.get_ids().last().copied())
            .flatten();
        // The graph pools at the first end token by an argmax; CLIP's own padding is that token too,
        // and rten's argmax takes the last of equals. Padding is behind the pooled token of a causal
        // model, so any other id gives the same vector; the lowest also suits graphs that look for
        // the highest id.
        if end.is_some() {
            pad_id = 0;
        }
        Ok(Self {
            specials: empty.len(),
            inner,
            pad,
            pad_id,
            end,
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
        let rows: Vec<&[u32]> = encodings.iter().map(|e| self.used(e.get_ids())).collect();
        let len = match self.pad {
            PadRule::Longest => rows.iter().map(|row| row.len()).max().unwrap_or(0),
            PadRule::Fixed(len) => len,
        };
        let mut batch = TokenBatch {
            len,
            ids: Vec::new(),
            mask: Vec::new(),
        };
        for row in rows {
            let padding = len - row.len();
            batch.ids.extend(row.iter().map(|&id| i64::from(id)));
            batch.ids.extend(std::iter::repeat_n(self.pad_id, padding));
            batch.mask.extend(std::iter::repeat_n(1, row.len()));
            batch.mask.extend(std::iter::repeat_n(0, padding));
        }
        Ok(batch)
    }

    /// Leaves out what follows the first end token: a text may spell that token out, and a causal
    /// model that pools there never sees the rest.
    fn used<'a>(&self, ids: &'a [u32]) -> &'a [u32] {
        let end = self
            .end
            .and_then(|end| ids.iter().position(|&id| id == end));
        end.map_or(ids, |end| &ids[..=end])
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn token_ids_equal_those_of_transformers() {
        for (model, max_len, pooling) in [
            ("tiny-clip", 24, Pooling::EndOfText),
            ("tiny-clip-gelu", 24, Pooling::EndOfText),
            ("tiny-siglip", 64, Pooling::LastPosition),
        ] {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/data")
                .join(model);
            let tokenizer = TextTokenizer::open(&dir, max_len, PadRule::Longest, pooling).unwrap();
            let reference: Value =
                serde_json::from_slice(&std::fs::read(dir.join("reference.json")).unwrap())
                    .unwrap();
            for case in reference["texts"].as_array().unwrap() {
                let text = case["text"].as_str().unwrap();
                let wanted: Vec<i64> = serde_json::from_value(case["ids"].clone()).unwrap();
                let batch = tokenizer.batch(&[text]).unwrap();
                assert_eq!(batch.ids, wanted, "{model}: {text:?}");
            }
        }
    }

    #[test]
    fn the_end_token_occurs_once_where_the_vector_is_taken_there() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny-clip");
        let tokenizer =
            TextTokenizer::open(&dir, 24, PadRule::Longest, Pooling::EndOfText).unwrap();
        let batch = tokenizer
            .batch(&["a cat on a sofa", "a", "a<|endoftext|>cat on"])
            .unwrap();
        let rows: Vec<&[i64]> = batch.ids.chunks(batch.len).collect();
        assert_eq!(rows[1], [645, 320, 646, 0, 0, 0, 0]);
        assert_eq!(rows[2], rows[1]);
        assert_eq!(batch.mask[7..14], [1, 1, 1, 0, 0, 0, 0]);
    }
}
