//! What is to be made of an image, as plain data.

use crate::error::{Error, Result};

/// File format of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OutputFormat {
    /// JPEG, 4:2:0; alpha is laid on white.
    #[default]
    Jpeg,
    /// PNG, 8 bits, lossless; alpha is kept.
    Png,
    /// WebP, lossy; alpha is kept.
    WebP,
}

impl OutputFormat {
    /// Returns the IANA media type.
    pub fn content_type(self) -> &'static str {
        match self {
            OutputFormat::Jpeg => "image/jpeg",
            OutputFormat::Png => "image/png",
            OutputFormat::WebP => "image/webp",
        }
    }
}

/// The renditions and fingerprints wanted of one image. All of them come from one decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Sides of the square thumbnails in pixels, named `thumb_SIDE`; cut from the middle, never enlarged, baseline.
    pub thumbnails: Vec<u32>,
    /// Format of the thumbnails.
    pub thumbnail_format: OutputFormat,
    /// Side of the square that holds the rendition `main`, which is never enlarged; `None` for no main rendition.
    pub main_side: Option<u32>,
    /// Widths of the responsive set, named `wWIDTH`; those above the source's width are left out.
    pub widths: Vec<u32>,
    /// Format of the main and responsive renditions; JPEG is progressive.
    pub format: OutputFormat,
    /// Quality of lossy formats, 1 to 100.
    pub quality: u8,
    /// Side of the square that holds [`crate::Processed::embedding_input`]; never enlarged.
    pub embedding_side: u32,
    /// Most dominant colours to find, 1 to 16.
    pub palette_colors: u8,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            thumbnails: vec![150, 300, 600],
            thumbnail_format: OutputFormat::Jpeg,
            main_side: Some(2048),
            widths: vec![320, 640, 1024, 1920],
            format: OutputFormat::Jpeg,
            quality: 85,
            embedding_side: 512,
            palette_colors: 5,
        }
    }
}

/// Longest side an output may have: the limit of WebP, the smallest of the three formats.
const MAX_OUTPUT_SIDE: u32 = 16_383;

impl Plan {
    /// Checks every number of the plan.
    ///
    /// Errors: `InvalidPlan` naming the first one out of bounds.
    pub fn validate(&self) -> Result<()> {
        let invalid = |detail: String| Err(Error::InvalidPlan { detail });
        let sides = self
            .thumbnails
            .iter()
            .chain(&self.main_side)
            .chain(&self.widths)
            .chain([&self.embedding_side]);
        for side in sides {
            if !(1..=MAX_OUTPUT_SIDE).contains(side) {
                return invalid(format!(
                    "side of {side} pixels; must be 1 to {MAX_OUTPUT_SIDE}"
                ));
            }
        }
        if !(1..=100).contains(&self.quality) {
            return invalid(format!("quality {}; must be 1 to 100", self.quality));
        }
        if !(1..=16).contains(&self.palette_colors) {
            return invalid(format!(
                "{} palette colours; must be 1 to 16",
                self.palette_colors
            ));
        }
        Ok(())
    }

    /// Lists the outputs for an upright source of `width` x `height`: thumbnails, main, then widths, each ascending.
    pub(crate) fn outputs(&self, width: u32, height: u32) -> Vec<Output> {
        use crate::resize::{fit_inside, scaled};
        let shortest = width.min(height);
        let mut outputs = Vec::new();
        for side in ascending(&self.thumbnails) {
            let length = side.min(shortest);
            let format = self.thumbnail_format;
            let scale = f64::from(length) / f64::from(shortest);
            outputs.push(Output::new(
                format!("thumb_{side}"),
                (length, length),
                true,
                scale,
                format,
            ));
        }
        if let Some(side) = self.main_side {
            let size = fit_inside(width, height, side);
            let scale = f64::from(size.0.max(size.1)) / f64::from(width.max(height));
            outputs.push(Output::new(
                "main".to_owned(),
                size,
                false,
                scale,
                self.format,
            ));
        }
        for wide in ascending(&self.widths).into_iter().filter(|w| *w <= width) {
            let size = (wide, scaled(height, wide, width));
            // Strips (screenshots of endless pages) may be too long for every format at this width.
            if size.1 <= MAX_OUTPUT_SIDE {
                let scale = f64::from(wide) / f64::from(width);
                outputs.push(Output::new(
                    format!("w{wide}"),
                    size,
                    false,
                    scale,
                    self.format,
                ));
            }
        }
        outputs
    }
}

fn ascending(sides: &[u32]) -> Vec<u32> {
    let mut sides = sides.to_vec();
    sides.sort_unstable();
    sides.dedup();
    sides
}

/// One output of a plan, for one source.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Cut to a square from the middle, else the whole picture.
    pub(crate) square: bool,
    /// Resolution against the upright source, at most 1.
    pub(crate) scale: f64,
    pub(crate) format: OutputFormat,
}

impl Output {
    fn new(
        name: String,
        (width, height): (u32, u32),
        square: bool,
        scale: f64,
        format: OutputFormat,
    ) -> Self {
        Output {
            name,
            width,
            height,
            square,
            scale,
            format,
        }
    }
}

/// An encoded output. It carries no metadata of the source.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendition {
    /// `thumb_150`, `main`, `w320` and so on.
    pub name: String,
    /// IANA media type of `bytes`.
    pub content_type: &'static str,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The file.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Rendition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Rendition({} {} {} x {}, {} bytes)",
            self.name,
            self.content_type,
            self.width,
            self.height,
            self.bytes.len()
        )
    }
}
