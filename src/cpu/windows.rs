//! The windows that a convolution slides over feature maps: where each lies, and its elements as a row of a matrix.

use crate::tensor::Float;

/// Windows of `kernel × kernel` pixels, `stride` apart, over maps with `padding` pixels of zeros around them. A row holds a
/// window's elements of the channels of one group: by (row, column, channel) for tokens, by (channel, row, column) for images,
/// which are runs of neighbours in memory both times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the lines above say it")]
pub struct Windows {
    /// Maps are `[B, C, H, W]`, not `[B, H · W, C]`.
    pub images: bool,
    pub channels: usize,
    pub groups: usize,
    /// Height and width of the maps.
    pub size: [usize; 2],
    /// Windows down and across.
    pub out: [usize; 2],
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

impl Windows {
    /// Windows of one map.
    pub fn count(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// Channels of a group.
    pub fn width(&self) -> usize {
        self.channels / self.groups
    }

    /// Pixels of a window.
    pub fn area(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Elements of a row.
    pub fn inner(&self) -> usize {
        self.area() * self.width()
    }

    /// Elements of one map.
    pub fn map_len(&self) -> usize {
        self.channels * self.size[0] * self.size[1]
    }

    /// Where row or column `at` of a window at `window` lies on an axis of `size` pixels, unless in the padding.
    #[inline(always)]
    fn place(&self, window: usize, at: usize, size: usize) -> Option<usize> {
        (window * self.stride + at).checked_sub(self.padding).filter(|&place| place < size)
    }

    /// The window whose row or column `at` lies at `place`, if one of `out` does.
    #[inline(always)]
    fn window_at(&self, place: usize, at: usize, out: usize) -> Option<usize> {
        let from = (place + self.padding).checked_sub(at)?;
        let window = from / self.stride;
        (from.is_multiple_of(self.stride) && window < out).then_some(window)
    }

    /// The pixel behind element `tap` of window `index`, both counted over all maps, unless it lies in the padding.
    #[inline(always)]
    pub fn pixel(&self, index: usize, tap: usize) -> Option<usize> {
        let (map, window) = (index / self.count(), index % self.count());
        let y = self.place(window / self.out[1], tap / self.kernel, self.size[0])?;
        let x = self.place(window % self.out[1], tap % self.kernel, self.size[1])?;
        Some((map * self.size[0] + y) * self.size[1] + x)
    }

    /// The window whose element `tap` is `pixel`, both counted over all maps, if there is one.
    #[inline(always)]
    pub fn window(&self, pixel: usize, tap: usize) -> Option<usize> {
        let [height, width] = self.size;
        let down = self.window_at(pixel / width % height, tap / self.kernel, self.out[0])?;
        let across = self.window_at(pixel % width, tap % self.kernel, self.out[1])?;
        Some((pixel / (height * width) * self.out[0] + down) * self.out[1] + across)
    }

    /// Writes the row of window `index`, counted over all maps of `x`, for `group`.
    #[inline(always)]
    pub fn gather<T: Float>(&self, x: &[T], group: usize, index: usize, row: &mut [T]) {
        if self.images {
            return self.gather_image(x, group, index, row);
        }
        let width = self.width();
        for (tap, to) in row.chunks_exact_mut(width).enumerate() {
            match self.pixel(index, tap) {
                Some(pixel) => to.copy_from_slice(&x[pixel * self.channels + group * width..][..width]),
                None => to.fill(T::zero()),
            }
        }
    }

    #[inline(always)]
    fn gather_image<T: Float>(&self, x: &[T], group: usize, index: usize, row: &mut [T]) {
        let [height, width] = self.size;
        let (map, window) = (index / self.count(), index % self.count());
        let across = window % self.out[1] * self.stride;
        let left = self.padding.saturating_sub(across).min(self.kernel); // columns in the padding
        let right = (width + self.padding).saturating_sub(across).clamp(left, self.kernel);
        for (k, to) in row.chunks_exact_mut(self.kernel).enumerate() {
            let plane = map * self.channels + group * self.width() + k / self.kernel;
            let y = self.place(window / self.out[1], k % self.kernel, height).filter(|_| left < right);
            let Some(y) = y else {
                to.fill(T::zero());
                continue;
            };
            to[..left].fill(T::zero());
            let from = (plane * height + y) * width + across + left - self.padding;
            to[left..right].copy_from_slice(&x[from..][..right - left]);
            to[right..].fill(T::zero());
        }
    }

    /// The reverse for one line of maps, counted over all of them (a token, or a plane of an image): the sum of what the rows
    /// of all windows (`[groups, windows, inner]`) hold of its pixels.
    #[inline(always)]
    pub fn fold<T: Float>(&self, rows: &[T], line: usize, dx: &mut [T]) {
        let (per_group, width) = (rows.len() / self.groups, self.width());
        dx.fill(T::zero());
        if self.images {
            let (map, channel) = (line / self.channels, line % self.channels);
            let from = channel / width * per_group + channel % width * self.area();
            for index in map * self.count()..(map + 1) * self.count() {
                for (tap, value) in rows[from + index * self.inner()..][..self.area()].iter().enumerate() {
                    if let Some(pixel) = self.pixel(index, tap) {
                        dx[pixel - map * dx.len()] += *value;
                    }
                }
            }
            return;
        }
        for tap in 0..self.area() {
            let Some(index) = self.window(line, tap) else { continue };
            for (group, dx) in dx.chunks_exact_mut(width).enumerate() {
                let from = &rows[group * per_group + index * self.inner() + tap * width..][..width];
                dx.iter_mut().zip(from).for_each(|(d, f)| *d += *f);
            }
        }
    }
}
