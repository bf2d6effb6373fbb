// Arguments of every kernel: one struct each, passed by value. The kernel of `SoftmaxFwd` is `softmax_fwd`, once for each
// element type (`softmax_fwd_f32`). `src/gpu/params.rs` is made from this file; a test makes it again and compares.
//
// Addresses come first, then 8-byte numbers, then an even number of 4-byte ones: no padding bytes anywhere. A matrix has
// `rows` of `cols` elements, `stride` elements from row to row (the stored width); an address of 0 is an absent input.
#pragma once

typedef unsigned long long Ptr;

// What changes from one training step to the next, in device memory: kernels are given its address, so that a captured
// step replays with new numbers. The learning rate; 1 - beta^t of both moments; what gradients are multiplied by
// (clipping, written by the device); the norm of the gradients (so too); the number of the step, for random draws.
typedef struct { double lr, bias1, bias2, grad_scale, grad_norm; unsigned long long step; } StepNumbers;

// ---- tensor.cu

// out[r][c] = value
typedef struct { Ptr out; double value; int rows, cols, stride, unused; } Fill;
// out[i] += x[i]
typedef struct { Ptr out, x; long long count; } Accumulate;
// the same elements in order, `count` of them, under another width
typedef struct { Ptr out, x; long long count; int x_cols, x_stride, cols, stride; } Repitch;

// ---- softmax.cu

// y = softmax(x) over the keys whose mask is not 0; mask_stride 0: one mask for all rows
typedef struct { Ptr y, x, mask; int rows, cols, stride, mask_stride; } SoftmaxFwd;
// dx = p (dp - <dp, p>)
typedef struct { Ptr dx, dp, p; int rows, cols, stride, unused; } SoftmaxBwd;
