//! Colours as people see them: OKLab, dominant colours, colour words.
//!
//! Source: Björn Ottosson, "A perceptual color space for image processing", 2020 (matrices of 2021-01-25).

mod palette;
mod words;

use std::sync::LazyLock;

pub(crate) use palette::palette;
pub use words::{WORDS, word};

/// A colour in OKLab: Euclidean distance is about how different two colours look.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Oklab {
    /// Lightness, 0 black to 1 white.
    pub l: f32,
    /// Green (negative) to red, about -0.24 to 0.28.
    pub a: f32,
    /// Blue (negative) to yellow, about -0.32 to 0.20.
    pub b: f32,
}

/// One dominant colour of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Swatch {
    /// sRGB bytes.
    pub rgb: [u8; 3],
    /// The same colour in OKLab.
    pub oklab: Oklab,
    /// Part of the visible pixels nearest to this colour, above 0 and at most 1.
    pub share: f32,
}

impl Swatch {
    /// Returns the colour as `#rrggbb`.
    pub fn hex(&self) -> String {
        hex(self.rgb)
    }

    /// Returns the nearest colour word.
    pub fn word(&self) -> &'static str {
        word(self.rgb)
    }
}

/// Writes a colour as `#rrggbb`.
pub fn hex([r, g, b]: [u8; 3]) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Reads `#rrggbb`, `rrggbb`, `#rgb` or `rgb`; `None` for anything else.
pub fn parse_hex(text: &str) -> Option<[u8; 3]> {
    let digits = text.strip_prefix('#').unwrap_or(text);
    let values: Vec<u8> = digits
        .chars()
        .map(|c| c.to_digit(16).map(|d| d as u8))
        .collect::<Option<_>>()?;
    match *values.as_slice() {
        [r, g, b] => Some([r * 17, g * 17, b * 17]),
        [r1, r0, g1, g0, b1, b0] => Some([r1 * 16 + r0, g1 * 16 + g0, b1 * 16 + b0]),
        _ => None,
    }
}

/// Returns how different two colours look: 0 same, about 0.02 just noticeable, 1 black against white.
pub fn distance(x: Oklab, y: Oklab) -> f32 {
    ((x.l - y.l).powi(2) + (x.a - y.a).powi(2) + (x.b - y.b).powi(2)).sqrt()
}

/// Linear light of every sRGB byte.
static LINEAR: LazyLock<[f32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|i| {
        let v = i as f32 / 255.0;
        if v <= 0.040_45 {
            v / 12.92
        } else {
            ((v + 0.055) / 1.055).powf(2.4)
        }
    })
});

impl From<[u8; 3]> for Oklab {
    fn from(rgb: [u8; 3]) -> Self {
        let [r, g, b] = rgb.map(|v| LINEAR[usize::from(v)]);
        let l = (0.412_221_46 * r + 0.536_332_55 * g + 0.051_445_995 * b).cbrt();
        let m = (0.211_903_5 * r + 0.680_699_5 * g + 0.107_396_96 * b).cbrt();
        let s = (0.088_302_46 * r + 0.281_718_85 * g + 0.629_978_7 * b).cbrt();
        Oklab {
            l: 0.210_454_26 * l + 0.793_617_8 * m - 0.004_072_047 * s,
            a: 1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s,
            b: 0.025_904_037 * l + 0.782_771_77 * m - 0.808_675_77 * s,
        }
    }
}

impl From<Oklab> for [u8; 3] {
    /// Rounds to sRGB bytes; colours outside the gamut are clipped by channel.
    fn from(color: Oklab) -> Self {
        let l = (color.l + 0.396_337_78 * color.a + 0.215_803_76 * color.b).powi(3);
        let m = (color.l - 0.105_561_346 * color.a - 0.063_854_17 * color.b).powi(3);
        let s = (color.l - 0.089_484_18 * color.a - 1.291_485_5 * color.b).powi(3);
        let linear = [
            4.076_741_7 * l - 3.307_711_6 * m + 0.230_969_94 * s,
            -1.268_438 * l + 2.609_757_4 * m - 0.341_319_38 * s,
            -0.004_196_086_3 * l - 0.703_418_6 * m + 1.707_614_7 * s,
        ];
        linear.map(|v| {
            let v = v.clamp(0.0, 1.0);
            let encoded = if v <= 0.003_130_8 {
                12.92 * v
            } else {
                1.055 * v.powf(1.0 / 2.4) - 0.055
            };
            (encoded * 255.0).round() as u8
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values printed in Ottosson's article and by the CSS Color 4 reference implementation.
    #[test]
    fn oklab_agrees_with_published_values() {
        let cases = [
            ([255, 255, 255], (1.0, 0.0, 0.0)),
            ([255, 0, 0], (0.627_96, 0.224_86, 0.125_85)),
            ([0, 255, 0], (0.866_44, -0.233_89, 0.179_50)),
            ([0, 0, 255], (0.452_01, -0.032_46, -0.311_53)),
        ];
        for (rgb, (l, a, b)) in cases {
            assert!(
                distance(rgb.into(), Oklab { l, a, b }) < 1e-3,
                "{rgb:?} gave {:?}",
                Oklab::from(rgb)
            );
        }
    }

    #[test]
    fn bytes_survive_the_way_to_oklab_and_back() {
        for value in (0..=255u8).step_by(5) {
            for rgb in [[value, 255 - value, 77], [12, value, value], [value; 3]] {
                assert_eq!(<[u8; 3]>::from(Oklab::from(rgb)), rgb);
            }
        }
    }

    #[test]
    fn hex_is_read_as_written_and_garbage_is_refused() {
        assert_eq!(parse_hex(&hex([1, 171, 255])), Some([1, 171, 255]));
        assert_eq!(parse_hex("#f0a"), Some([255, 0, 170]));
        for bad in ["", "#", "#12345", "#gggggg", "#+1+1+1", "#1234567"] {
            assert_eq!(parse_hex(bad), None, "{bad}");
        }
    }
}
