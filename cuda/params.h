// Arguments of every kernel: one struct each, passed by value. The kernel of `SoftmaxFwd` is `softmax_fwd`, once for each
// element type (`softmax_fwd_f32`). `src/gpu/params.rs` is made from this file; a test makes it again and compares. After
// a change: ESPALIER_WRITE_PARAMS=1 cargo test --test params   (LIBCLANG_PATH: the folder of libclang.so)
//
// Addresses come first, then 8-byte numbers, then an even number of 4-byte ones: no padding bytes anywhere. A matrix has
// `rows` of `cols` elements, `stride` elements from row to row (the stored width); an address of 0 is an absent input.
#pragma once

typedef unsigned long long Ptr;

// ---- tensor.cu

// out[i] = value
typedef struct { Ptr out; double value; long long count; } Fill;

// out[i] += x[i]
typedef struct { Ptr out, x; long long count; } Accumulate;

// ---- softmax.cu

// y = softmax(x) over the keys whose mask is not 0; mask_stride 0: one mask for all rows
typedef struct { Ptr y, x, mask; int rows, cols, stride, mask_stride; } SoftmaxFwd;
// dx = p (dp - <dp, p>)
typedef struct { Ptr dx, dp, p; int rows, cols, stride, unused; } SoftmaxBwd;
