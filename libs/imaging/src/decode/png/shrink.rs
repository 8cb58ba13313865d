//! Rows in, rows of an image that is smaller by a whole factor out.

/// Averages squares of `factor` x `factor` pixels; those at the right and lower edge may be cut.
///
/// Colours are weighted by their alpha, so that what nobody sees does not bleed into what they do.
pub(super) struct Shrink {
    factor: usize,
    channels: usize,
    /// Columns of the source.
    width: usize,
    /// Sums of the row under way, `channels` per column of the result.
    sums: Vec<u32>,
    /// Source rows in `sums`.
    rows: usize,
    out: Vec<u8>,
}

impl Shrink {
    /// A result for rows of `width` pixels with 3 or 4 `channels`; `factor` at most 256, as sums are 32 bits wide.
    pub(super) fn new(width: u32, height: u32, channels: usize, factor: u32) -> Self {
        let columns = width.div_ceil(factor) as usize;
        let sums = if factor == 1 { 0 } else { columns * channels };
        Self {
            factor: factor as usize,
            channels,
            width: width as usize,
            sums: vec![0; sums],
            rows: 0,
            out: Vec::with_capacity(columns * height.div_ceil(factor) as usize * channels),
        }
    }

    /// Adds a row.
    pub(super) fn add(&mut self, row: &[u8]) {
        if self.factor == 1 {
            self.out.extend_from_slice(row);
            return;
        }
        let squares = row.chunks(self.factor * self.channels);
        for (sums, square) in self.sums.chunks_mut(self.channels).zip(squares) {
            if let [red, green, blue] = sums {
                for &[r, g, b] in square.as_chunks::<3>().0 {
                    *red += u32::from(r);
                    *green += u32::from(g);
                    *blue += u32::from(b);
                }
            } else if let [red, green, blue, alpha] = sums {
                for &[r, g, b, a] in square.as_chunks::<4>().0 {
                    let a = u32::from(a);
                    *red += u32::from(r) * a;
                    *green += u32::from(g) * a;
                    *blue += u32::from(b) * a;
                    *alpha += a;
                }
            }
        }
        self.rows += 1;
        if self.rows == self.factor {
            self.write();
        }
    }

    /// The image, with what the last rows gave.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.rows > 0 {
            self.write();
        }
        self.out
    }

    fn write(&mut self) {
        let mean = |sum: u32, count: u32| (sum + count / 2).checked_div(count).unwrap_or(0) as u8;
        for (column, sums) in self.sums.chunks_mut(self.channels).enumerate() {
            let across = self.factor.min(self.width - column * self.factor);
            let count = (across * self.rows) as u32;
            match *sums {
                [r, g, b, alpha] => {
                    let color = [r, g, b].map(|sum| mean(sum, alpha));
                    self.out.extend_from_slice(&color);
                    self.out.push(mean(alpha, count));
                }
                _ => self.out.extend(sums.iter().map(|sum| mean(*sum, count))),
            }
            sums.fill(0);
        }
        self.rows = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shrink(width: u32, channels: usize, factor: u32, rows: &[&[u8]]) -> Vec<u8> {
        let mut out = Shrink::new(width, rows.len() as u32, channels, factor);
        rows.iter().for_each(|row| out.add(row));
        out.finish()
    }

    #[test]
    fn squares_are_averaged_and_cut_ones_by_what_they_hold() {
        let rows: [&[u8]; 3] = [
            &[10, 0, 0, 20, 0, 0, 90, 7, 1],
            &[30, 0, 0, 40, 0, 0, 70, 9, 3],
            &[1, 2, 3, 3, 4, 5, 8, 8, 8],
        ];
        assert_eq!(
            shrink(3, 3, 2, &rows),
            [25, 0, 0, 80, 8, 2, 2, 3, 4, 8, 8, 8]
        );
        assert_eq!(shrink(3, 3, 1, &rows), rows.concat());
    }

    #[test]
    fn what_cannot_be_seen_gives_no_colour() {
        let rows: [&[u8]; 2] = [
            &[200, 100, 50, 255, 0, 255, 0, 0],
            &[0, 255, 0, 0, 0, 255, 0, 0],
        ];
        assert_eq!(shrink(2, 4, 2, &rows), [200, 100, 50, 64]);
        assert_eq!(shrink(2, 4, 2, &[&[9, 9, 9, 0, 9, 9, 9, 0]]), [0; 4]);
    }

    #[test]
    fn the_largest_squares_of_white_stay_white() {
        let row = vec![255; 64 * 4];
        assert_eq!(shrink(64, 4, 64, &vec![row.as_slice(); 64]), [255; 4]);
    }
}
