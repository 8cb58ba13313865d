//! One decode feeding every rendition, colour and hash of a [`Plan`].

use crate::colors::{Swatch, palette};
use crate::decode::{DECODE_SURPLUS, decode_upright};
use crate::encode::encode;
use crate::error::Result;
use crate::hash;
use crate::limits::Limits;
use crate::pixels::{Pixels, RgbImage};
use crate::plan::{Output, Plan, Rendition};
use crate::probe::{Probe, probe};
use crate::resize::{Scaler, fit_inside};

/// All that one image gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Processed {
    /// What the headers said.
    pub probe: Probe,
    /// Thumbnails, main, responsive set, each ascending by size; upright, without metadata.
    pub renditions: Vec<Rendition>,
    /// Dominant colours, largest share first; fewer than asked for if the image has fewer.
    pub palette: Vec<Swatch>,
    /// ThumbHash, about 25 bytes.
    pub thumb_hash: Vec<u8>,
    /// BlurHash of 4 x 3 components.
    pub blur_hash: String,
    /// 64-bit perceptual hash, compared by [`hash::hamming`].
    pub perceptual_hash: u64,
    /// The upright image for embedding models and [`crate::descriptor`].
    pub embedding_input: RgbImage,
}

/// Side of the image the colours and hashes are taken from; ThumbHash accepts at most 100.
const ANALYSIS_SIDE: u32 = 100;

/// Decodes once, at the smallest resolution that serves the whole plan, and makes everything from that.
///
/// Sizes are chained: each output is resampled from the smallest image at hand that has 1.33 times its resolution.
/// Animations give their first frame.
/// Errors: those of [`crate::decode_rgb`], `InvalidPlan`, `Encode`.
/// Blocking: about 60 ns per pixel of output plus 10 ns per pixel of source.
pub fn process(bytes: &[u8], limits: &Limits, plan: &Plan) -> Result<Processed> {
    plan.validate()?;
    let probe = probe(bytes, limits)?;
    let (width, height) = (probe.width, probe.height);
    let outputs = plan.outputs(width, height);
    let input_size = fit_inside(width, height, plan.embedding_side);
    let input_scale = f64::from(input_size.0.max(input_size.1)) / f64::from(width.max(height));
    let top = outputs
        .iter()
        .map(|output| output.scale)
        .fold(input_scale, f64::max);
    let decoded = decode_upright(bytes, &probe, limits, top)?;

    let first = Rung {
        scale: f64::INFINITY,
        square: false,
        image: decoded,
    };
    let mut ladder = Ladder {
        rungs: vec![first],
        scaler: Scaler::default(),
    };
    // Descending, so that each output finds its source made; ties by place, to be deterministic.
    let mut order: Vec<usize> = (0..outputs.len()).collect();
    order.sort_by(|&a, &b| {
        outputs[b]
            .scale
            .total_cmp(&outputs[a].scale)
            .then(a.cmp(&b))
    });
    let mut renditions: Vec<Option<Rendition>> = outputs.iter().map(|_| None).collect();
    for index in order {
        let output = &outputs[index];
        let image = ladder.make(output.width, output.height, output.square, output.scale);
        renditions[index] = Some(rendition(image, output, plan.quality)?);
    }
    let mut input = ladder
        .make(input_size.0, input_size.1, false, input_scale)
        .clone();
    let (small_width, small_height) = fit_inside(input.width, input.height, ANALYSIS_SIDE);
    let mut small = Scaler::default().resample(&mut input, small_width, small_height);
    Ok(Processed {
        probe,
        renditions: renditions.into_iter().flatten().collect(),
        palette: palette(&small, usize::from(plan.palette_colors)),
        thumb_hash: hash::thumb_hash(&small),
        blur_hash: hash::blur_hash(&small),
        perceptual_hash: hash::perceptual_hash(&mut small),
        embedding_input: input.into_rgb(),
    })
}

fn rendition(image: &Pixels, output: &Output, quality: u8) -> Result<Rendition> {
    Ok(Rendition {
        name: output.name.clone(),
        content_type: output.format.content_type(),
        width: output.width,
        height: output.height,
        bytes: encode(image, output.format, quality, !output.square)?,
    })
}

/// The images at hand, largest first, and what makes smaller ones from them.
struct Ladder {
    /// Never empty: the decoded image is first, whole and fit for every size.
    rungs: Vec<Rung>,
    scaler: Scaler,
}

struct Rung {
    /// Resolution against the upright source; infinite for the decoded image, which always has enough.
    scale: f64,
    square: bool,
    image: Pixels,
}

impl Ladder {
    /// Returns the image of that size, made from the smallest rung with the surplus, or at hand already.
    fn make(&mut self, width: u32, height: u32, square: bool, scale: f64) -> &Pixels {
        let same = |rung: &Rung| {
            (rung.image.width, rung.image.height) == (width, height) && rung.square == square
        };
        if let Some(at) = self.rungs.iter().position(same) {
            return &self.rungs[at].image;
        }
        // A square is a cut: only squares can come from it.
        let fits = |rung: &Rung| rung.scale >= scale * DECODE_SURPLUS && (square || !rung.square);
        let source = self.rungs.iter().rposition(fits).unwrap_or(0);
        let source = &mut self.rungs[source].image;
        let image = if square {
            self.scaler.cover(source, width, height)
        } else {
            self.scaler.resample(source, width, height)
        };
        self.rungs.push(Rung {
            scale,
            square,
            image,
        });
        &self.rungs[self.rungs.len() - 1].image
    }
}
