//! Element types.

use crate::cpu::math;
use bytemuck::Pod;
use half::{bf16, f16};
use num_traits::AsPrimitive;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float: the working type.
    F32,
    /// 64-bit float: for checking.
    F64,
    /// 16-bit float.
    F16,
    /// 16-bit float with the exponent of `f32`.
    BF16,
    /// 32-bit integer: labels and indices.
    I32,
    /// 8-bit integer: pixels.
    U8,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::U8 => 1,
        }
    }

    /// What sums, statistics and parameters beside it are kept in: `f32` for the 16-bit floats, otherwise itself.
    pub fn wide(self) -> Self {
        match self {
            Self::F16 | Self::BF16 => Self::F32,
            other => other,
        }
    }
}

/// A Rust type that a tensor can hold.
pub trait Element: Pod + Send + Sync + std::fmt::Debug {
    /// Its dtype.
    const DTYPE: DType;
    /// From a double.
    fn of(value: f64) -> Self;
    /// To a double.
    fn f64(self) -> f64;
}

macro_rules! element {
    ($($ty:ty => $dtype:ident by $through:ty),*) => {$(
        impl Element for $ty {
            const DTYPE: DType = DType::$dtype;
            #[inline(always)]
            fn of(value: f64) -> Self {
                let value: $through = value.as_();
                value.as_()
            }
            #[inline(always)]
            fn f64(self) -> f64 {
                self.into()
            }
        }
    )*};
}
// Halves by way of f32: from a double their crate rounds without its last 32 bits, so that what is just beyond a tie is one.
element!(
    f32 => F32 by f64, f64 => F64 by f64, f16 => F16 by f32, bf16 => BF16 by f32, i32 => I32 by f64, u8 => U8 by f64
);

/// The float types that kernels compute in: `f32` for work, `f64` for checking the same code.
pub trait Float: Element + num_traits::Float + num_traits::NumAssign + std::iter::Sum {
    /// `e^x`; vectorises in `f32`.
    fn exp_(self) -> Self;
    /// The normal distribution's `(Φ(x), φ(x))`; vectorises in `f32`.
    fn normal_cdf_pdf(self) -> (Self, Self);
}

impl Float for f32 {
    #[inline(always)]
    fn exp_(self) -> Self {
        math::exp(self)
    }
    #[inline(always)]
    fn normal_cdf_pdf(self) -> (Self, Self) {
        math::normal_cdf_pdf(self)
    }
}

impl Float for f64 {
    #[inline(always)]
    fn exp_(self) -> Self {
        self.exp()
    }
    #[inline(always)]
    fn normal_cdf_pdf(self) -> (Self, Self) {
        let cdf = 0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2);
        (cdf, (-0.5 * self * self).exp() * math::INV_SQRT_2PI)
    }
}

/// Runs `$body` with `$T` bound to the Rust type of `$dtype`.
macro_rules! dispatch {
    ($dtype:expr, $T:ident => $body:expr) => {
        dispatch!(@ $dtype, $T => $body; F32 f32, F64 f64, F16 half::f16, BF16 half::bf16, I32 i32, U8 u8)
    };
    (@ $dtype:expr, $T:ident => $body:expr; $($name:ident $ty:ty),*) => {
        match $dtype {
            $($crate::tensor::DType::$name => {
                type $T = $ty;
                $body
            })*
        }
    };
}
pub(super) use dispatch;

/// Runs `$body` with `$T` bound to the float type of `$dtype`; an error of op `$op` for the other dtypes.
macro_rules! float_dispatch {
    ($op:expr, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::tensor::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::tensor::DType::F64 => {
                type $T = f64;
                $body
            }
            other => Err($crate::Error::shape($op, "f32 or f64", other)),
        }
    };
}
pub(crate) use float_dispatch;
