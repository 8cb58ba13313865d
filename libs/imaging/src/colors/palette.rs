//! Dominant colours by k-means in OKLab, without randomness.

use std::collections::BTreeMap;

use super::{Oklab, Swatch, distance};
use crate::pixels::Pixels;

/// Rounds of k-means; the share of the largest cluster settles within about eight on photos.
const ROUNDS: usize = 16;

/// Clusters closer than this look like one colour and are joined.
const MERGE_DISTANCE: f32 = 0.04;

/// A small box of RGB space and the pixels in it.
#[derive(Clone, Copy, Default)]
struct Bin {
    weight: f32,
    l: f32,
    a: f32,
    b: f32,
}

impl Bin {
    fn add(&mut self, color: Oklab, weight: f32) {
        self.weight += weight;
        self.l += color.l * weight;
        self.a += color.a * weight;
        self.b += color.b * weight;
    }

    fn mean(&self) -> Oklab {
        Oklab {
            l: self.l / self.weight,
            a: self.a / self.weight,
            b: self.b / self.weight,
        }
    }
}

/// Finds at most `count` dominant colours, largest share first.
///
/// Pixels are gathered into 32 x 32 x 32 bins, the first centres are the heaviest bin and then always the bin that is
/// heavy and far from the centres so far, and near centres are joined at the end. Transparent pixels do not count.
pub(crate) fn palette(image: &Pixels, count: usize) -> Vec<Swatch> {
    let points = bins(image);
    let total: f32 = points.iter().map(|(_, weight)| weight).sum();
    let mut centers = first_centers(&points, count);
    for _ in 0..ROUNDS {
        let clusters = assign(&points, &centers);
        centers = clusters
            .iter()
            .filter(|bin| bin.weight > 0.0)
            .map(Bin::mean)
            .collect();
    }
    let mut clusters = assign(&points, &centers);
    clusters.retain(|bin| bin.weight > 0.0);
    join_near(&mut clusters);
    let mut swatches: Vec<Swatch> = clusters
        .iter()
        .map(|bin| {
            let oklab = bin.mean();
            Swatch {
                rgb: oklab.into(),
                oklab,
                share: bin.weight / total,
            }
        })
        .collect();
    swatches.sort_by(|x, y| y.share.total_cmp(&x.share).then(x.rgb.cmp(&y.rgb)));
    swatches
}

/// Gathers pixels by their top five bits; a map in key order keeps every sum, and so the result, the same each time.
fn bins(image: &Pixels) -> Vec<(Oklab, f32)> {
    let mut bins: BTreeMap<u16, Bin> = BTreeMap::new();
    for pixel in image.data.chunks_exact(image.channels) {
        if pixel.get(3).is_some_and(|&alpha| alpha < 128) {
            continue;
        }
        let rgb = [pixel[0], pixel[1], pixel[2]];
        let key = rgb
            .iter()
            .fold(0u16, |key, &v| key << 5 | u16::from(v >> 3));
        bins.entry(key).or_default().add(rgb.into(), 1.0);
    }
    bins.values().map(|bin| (bin.mean(), bin.weight)).collect()
}

fn first_centers(points: &[(Oklab, f32)], count: usize) -> Vec<Oklab> {
    let mut centers: Vec<Oklab> = Vec::with_capacity(count);
    while centers.len() < count {
        let merit = |&(color, weight): &(Oklab, f32)| {
            let nearest = centers
                .iter()
                .map(|&c| distance(c, color))
                .fold(f32::INFINITY, f32::min);
            if nearest.is_finite() {
                weight * nearest * nearest
            } else {
                weight
            }
        };
        let best = points
            .iter()
            .map(|p| (merit(p), p.0))
            .max_by(|x, y| x.0.total_cmp(&y.0));
        match best {
            Some((merit, color)) if merit > 0.0 => centers.push(color),
            _ => break,
        }
    }
    centers
}

fn assign(points: &[(Oklab, f32)], centers: &[Oklab]) -> Vec<Bin> {
    let mut clusters = vec![Bin::default(); centers.len()];
    for &(color, weight) in points {
        let nearest = (0..centers.len())
            .min_by(|&x, &y| distance(centers[x], color).total_cmp(&distance(centers[y], color)));
        if let Some(at) = nearest {
            clusters[at].add(color, weight);
        }
    }
    clusters
}

fn join_near(clusters: &mut Vec<Bin>) {
    let mut at = 0;
    while at < clusters.len() {
        let here = clusters[at].mean();
        match (at + 1..clusters.len())
            .find(|&other| distance(here, clusters[other].mean()) < MERGE_DISTANCE)
        {
            Some(other) => {
                let joined = clusters.remove(other);
                let into = &mut clusters[at];
                into.weight += joined.weight;
                into.l += joined.l;
                into.a += joined.a;
                into.b += joined.b;
            }
            None => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripes(parts: &[([u8; 3], usize)]) -> Pixels {
        let data: Vec<u8> = parts.iter().flat_map(|(rgb, n)| rgb.repeat(*n)).collect();
        Pixels::new((data.len() / 3) as u32, 1, 3, data)
    }

    #[test]
    fn flat_colours_come_back_with_their_shares() {
        let image = stripes(&[
            ([200, 30, 30], 500),
            ([20, 20, 160], 300),
            ([240, 240, 240], 200),
        ]);
        let found: Vec<_> = palette(&image, 5)
            .iter()
            .map(|s| (s.rgb, (s.share * 100.0).round()))
            .collect();
        assert_eq!(
            found,
            [
                ([200, 30, 30], 50.0),
                ([20, 20, 160], 30.0),
                ([240, 240, 240], 20.0)
            ]
        );
    }

    #[test]
    fn transparent_pixels_do_not_count() {
        let data = [[255, 0, 0, 255].repeat(10), [0, 255, 0, 0].repeat(90)].concat();
        let found = palette(&Pixels::new(100, 1, 4, data), 5);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].rgb, found[0].share), ([255, 0, 0], 1.0));
        assert!(palette(&Pixels::new(1, 1, 4, vec![0; 4]), 5).is_empty());
    }

    #[test]
    fn a_gradient_gives_at_most_the_colours_asked_for() {
        let data = (0..=255u8).flat_map(|v| [v, 255 - v, v / 2]).collect();
        let found = palette(&Pixels::new(256, 1, 3, data), 5);
        assert_eq!(found.len(), 5);
        assert!((found.iter().map(|s| s.share).sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(found.is_sorted_by(|x, y| x.share >= y.share));
    }
}
