//! The lengths of a tensor's axes.

use std::ops::{Deref, DerefMut};

/// Up to six axis lengths, outermost first; the empty shape is a scalar.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Shape {
    dims: [usize; Shape::MAX_RANK],
    rank: usize,
}

impl Shape {
    /// The most axes that a tensor can have.
    pub const MAX_RANK: usize = 6;

    /// Number of elements: the product of the lengths, 1 for a scalar.
    pub fn numel(&self) -> usize {
        self.iter().product()
    }

    /// All axes but the last as one: `(rows, last)`; a scalar is `(1, 1)`.
    pub fn rows_cols(&self) -> (usize, usize) {
        let cols = self.last().copied().unwrap_or(1);
        (self.iter().rev().skip(1).product(), cols)
    }

    /// The same with the last axis `last` long.
    pub fn with_last(mut self, last: usize) -> Self {
        if let Some(dim) = self.last_mut() {
            *dim = last;
        }
        self
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.dims[..self.rank]
    }
}

impl DerefMut for Shape {
    fn deref_mut(&mut self) -> &mut [usize] {
        &mut self.dims[..self.rank]
    }
}

impl<S: AsRef<[usize]>> From<S> for Shape {
    /// Axes beyond the sixth are folded into the sixth, so that the number of elements is right.
    fn from(dims: S) -> Self {
        let dims = dims.as_ref();
        let mut shape = Shape { dims: [1; Shape::MAX_RANK], rank: dims.len().min(Shape::MAX_RANK) };
        for (index, dim) in dims.iter().enumerate() {
            shape.dims[index.min(Shape::MAX_RANK - 1)] *= dim;
        }
        shape
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Self {
        *shape
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}
