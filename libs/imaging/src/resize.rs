//! SIMD resampling (Lanczos, 3 lobes) and the arithmetic of sizes.

use fast_image_resize::images::TypedImage;
use fast_image_resize::pixels::{U8x3, U8x4};
use fast_image_resize::{PixelTrait, ResizeOptions, Resizer};

use crate::pixels::Pixels;

/// Returns the size inside `side` x `side` with the same aspect; never larger than the source, at least 1 pixel.
pub(crate) fn fit_inside(width: u32, height: u32, side: u32) -> (u32, u32) {
    let longest = width.max(height);
    if longest <= side {
        return (width, height);
    }
    (scaled(width, side, longest), scaled(height, side, longest))
}

/// Returns `length * numerator / denominator`, rounded, at least 1.
pub(crate) fn scaled(length: u32, numerator: u32, denominator: u32) -> u32 {
    let (l, n, d) = (
        u64::from(length),
        u64::from(numerator),
        u64::from(denominator.max(1)),
    );
    u32::try_from((l * n + d / 2) / d)
        .unwrap_or(u32::MAX)
        .max(1)
}

/// Resampler that keeps its scratch buffers between calls.
#[derive(Default)]
pub(crate) struct Scaler {
    resizer: Resizer,
}

impl Scaler {
    /// Resamples to exactly `width` x `height`; a plain move if that is the size already.
    pub(crate) fn exact(&mut self, mut source: Pixels, width: u32, height: u32) -> Pixels {
        if (source.width, source.height) == (width, height) {
            return source;
        }
        self.resample(&mut source, width, height)
    }

    /// Resamples to exactly `width` x `height`, keeping the source as it is.
    pub(crate) fn resample(&mut self, source: &mut Pixels, width: u32, height: u32) -> Pixels {
        self.run(source, width, height, ResizeOptions::new())
    }

    /// Cuts the middle to the aspect of `width` x `height` and resamples it.
    pub(crate) fn cover(&mut self, source: &mut Pixels, width: u32, height: u32) -> Pixels {
        self.run(
            source,
            width,
            height,
            ResizeOptions::new().fit_into_destination(None),
        )
    }

    /// Typed by hand: the untyped call would compile every pixel type and instruction set into this crate. The source
    /// is borrowed mutably, though only read, to be of the type of the resizer's own buffers: a `TypedImageRef` would
    /// compile all of it a second time.
    fn run(
        &mut self,
        source: &mut Pixels,
        width: u32,
        height: u32,
        options: ResizeOptions,
    ) -> Pixels {
        let mut data = vec![0; width as usize * height as usize * source.channels];
        if source.channels == 4 {
            self.run_typed::<U8x4>(source, &mut data, width, height, &options);
        } else {
            self.run_typed::<U8x3>(source, &mut data, width, height, &options);
        }
        Pixels::new(width, height, source.channels, data)
    }

    fn run_typed<P: PixelTrait>(
        &mut self,
        source: &mut Pixels,
        data: &mut [u8],
        width: u32,
        height: u32,
        options: &ResizeOptions,
    ) {
        let view = TypedImage::<P>::from_buffer(source.width, source.height, &mut source.data)
            .expect("a Pixels buffer has the size its fields say");
        let mut target =
            TypedImage::<P>::from_buffer(width, height, data).expect("the target was made to size");
        self.resizer
            .resize_typed(&view, &mut target, options)
            .expect("the crop lies inside the source");
    }
}
