// Arguments of every kernel: one struct each, passed by value. The kernel of `SoftmaxFwd` is `softmax_fwd`, once for each
// element type (`softmax_fwd_f32`). `src/gpu/params.rs` is made from this file; a test makes it again and compares. After
// a change: ESPALIER_WRITE_PARAMS=1 cargo test --test params   (LIBCLANG_PATH: the folder of libclang.so)
//
// Addresses come first, then 8-byte numbers, then an even number of 4-byte ones: no padding bytes anywhere. A matrix has
// `rows` of `cols` elements, `stride` elements from row to row (the stored width); an address of 0 is an absent input.
#pragma once

typedef unsigned long long Ptr;

// What changes from one training step to the next, in device memory: kernels are given its address, so that a captured
// step replays with new numbers. The learning rate; 1 - beta^t of both moments; what the loss is multiplied by before its
// gradients are taken; what gradients are multiplied by (clipping over that, written by the device); the norm of the
// gradients of the plain loss (so too); the number of the step, for random draws.
typedef struct { double lr, bias1, bias2, loss_scale, grad_scale, grad_norm; unsigned long long step; } StepNumbers;

// ---- tensor.cu

// out[r][c] = value
typedef struct { Ptr out; double value; int rows, cols, stride, unused; } Fill;
// out[i] += x[i]
typedef struct { Ptr out, x; long long count; } Accumulate;
// the same elements in order, `count` of them, under another width
typedef struct { Ptr out, x; long long count; int x_cols, x_stride, cols, stride; } Repitch;

// out = x in the wide type
typedef struct { Ptr out, x; long long count; } Widen;
typedef struct { Ptr out, x; long long count, first; } NarrowTensor;
// out = x, rounded, for each of several tensors; the pieces of a tensor begin with block `first`
typedef struct { NarrowTensor at[384]; int tensors, unused; } Narrow;

// partials[k][c] = sum of x[r][c] over the k-th COLUMN_ROWS rows; rows of partials, here and below, are stored as tensors are
typedef struct { Ptr partials, x; int rows, cols, stride, unused; } SumColumns;
// out[c] (+)= sum over k < count of partials[first + step k][c]
typedef struct { Ptr out, partials; int count, cols, first, step, accumulate, unused; } AddPartials;
// out[0] = scale · sum of x
typedef struct { Ptr out, x; double scale; int count, unused; } Total;

// ---- add.cu

// y[i] = x[i] + s[i / sample] · b[i]; s absent: 1; y may be x
typedef struct { Ptr y, x, b, s; long long count, sample; } AddScaled;
// y[i] = s[i / sample] · c · x[i]; s absent: 1
typedef struct { Ptr y, x, s; double c; long long count, sample; } Scale;

// ---- adamw.cu: many tensors at once, `count` elements each, whose pieces begin with block `first`

// m, v and grad absent: param stays as it is; average = decay · average + (1 - decay) · param, absent: none
typedef struct { Ptr param, m, v, grad, average; double weight_decay, lr_scale, decay; long long count, first; } AdamwTensor;
// the numbers of the step are those at `state`, absent: zeros; nothing happens when its grad_scale is not finite
typedef struct { AdamwTensor at[384]; Ptr state; double beta1, beta2, eps; int tensors, unused; } Adamw;
typedef struct { Ptr x; long long count, first; } NormTensor;
// partials[b] = sum of the squares of the piece of block b
typedef struct { NormTensor at[384]; Ptr partials; int tensors, unused; } SquareSums;
// at `state`: grad_norm = sqrt(sum of partials) / loss_scale, grad_scale = min(1, max_norm / (grad_norm + 1e-6)) / loss_scale,
// with 1 for the minimum when max_norm is 0; not finite when the norm or the loss is not
typedef struct { Ptr state, partials, loss; double max_norm; long long count; } ClipScale;
// out[0] = loss_scale at `state`
typedef struct { Ptr out, state; } LossSeed;

// ---- drop_path.cu

// out[i] = floor(keep + u_i) / keep, u_i the first uniform of (seed, step, site, i); the step is that at `state`, if given
typedef struct { Ptr out, state; unsigned long long seed, step, site, first; double keep, scale; int count, unused; } DropPath;

// ---- softmax.cu

// y = softmax(x) over the keys whose mask is not 0; mask_stride 0: one mask for all rows; its rows are of whole Vecs
typedef struct { Ptr y, x, mask; int rows, cols, stride, mask_stride; } SoftmaxFwd;
// dx = p (dy - <dy, p>)
typedef struct { Ptr dx, dy, p; int rows, cols, stride, unused; } SoftmaxBwd;
// y = log softmax(x)
typedef struct { Ptr y, x; int rows, cols, stride, unused; } LogSoftmaxFwd;
// dx = dy - e^y sum dy
typedef struct { Ptr dx, dy, y; int rows, cols, stride, unused; } LogSoftmaxBwd;

// ---- gelu.cu

// y = GELU((x + b) g), b and g by column; absent: 0 and 1. y may be x
typedef struct { Ptr y, x, b, g; long long count; int stride, unused; } GeluFwd;
// dx = dt g with dt = dy GELU'((x + b) g)
typedef struct { Ptr dx, dy, x, b, g; long long count; int stride, unused; } GeluBwd;
// partials of dg = sum over rows of dt (x + b)
typedef struct { Ptr partials, dy, x, b, g; int rows, cols, stride, unused; } GeluGate;

// ---- gate.cu

// y[r][c] = x[r][c] g[c / group]
typedef struct { Ptr y, x, g; long long count; int stride, group; } Gate;
// y[r][c] = x[r][c] + b[c]
typedef struct { Ptr y, x, b; long long count; int stride, unused; } AddBias;
// partials of sum over rows of dy[r][c] x[r][c]
typedef struct { Ptr partials, dy, x; int rows, cols, stride, unused; } GateColumns;
// dg[u] (+)= sum over the unit's columns of columns[c]
typedef struct { Ptr dg, columns; int units, group, accumulate, unused; } GateUnits;

// y[r][c] = x[r][c] g[r / tokens][c], zeros behind the rows
typedef struct { Ptr y, x, g; long long count; int tokens, stride; } GateSamples;
// dg[i][c] (+)= sum over the tokens r of sample i of dy[r][c] x[r][c]
typedef struct { Ptr dg, dy, x; int samples, tokens, cols, stride, accumulate, unused; } GateSamplesBwd;

// ---- layernorm.cu

// v = x + s[r / sample_rows] branch, written to sum; y = (v - mean) rstd gamma + beta; stats[r] = mean, rstd. Without a
// branch v = x and there is no sum; s absent: 1. sum may be x
typedef struct {
  Ptr y, sum, stats, x, branch, s, gamma, beta;
  double eps;
  int rows, cols, stride, sample_rows;
} LayernormFwd;
// dx = rstd (h - mean(h) - n mean(h n)) + dsum with h = dy gamma, n = (x - mean) rstd; dsum may be absent
typedef struct { Ptr dx, dy, dsum, x, stats, gamma; int rows, cols, stride, unused; } LayernormBwd;
// partials of dgamma = sum over rows of dy n and dbeta = sum over rows of dy
typedef struct { Ptr partials, dy, x, stats; int rows, cols, stride, unused; } LayernormColumns;

// ---- cross_entropy.cu

// log_p = log softmax(z); loss[r] = -sum_c t log_p
typedef struct { Ptr log_p, loss, z, t; int rows, cols, stride, unused; } CrossEntropyFwd;
// dz = dloss · scale · (e^dz sum_c t - t), where dz holds log p
typedef struct { Ptr dz, t, dloss; double scale; int rows, cols, stride, unused; } CrossEntropyBwd;
// y[r][c] = 1 at the first of the row's largest values, else 0; NaN throughout a row with NaN
typedef struct { Ptr y, z; int rows, cols, stride, unused; } HardTarget;

// ---- kd.cu

// p = softmax(student / tau), q = softmax(teacher / tau): gap = p - q; sum[r] = sum_c q (log q - log p)
typedef struct { Ptr gap, sum, student, teacher; double inverse_tau; int rows, cols, stride, unused; } KdFwd;

// ---- mse.cu

// gap = a - b; partials[k] = sum of gap^2 over the k-th CHUNK elements
typedef struct { Ptr gap, partials, a, b; long long count; } MseFwd;
// gap = sigmoid(z) - t; partials[k] = sum of max(z, 0) - z t + log(1 + e^-|z|) over the k-th CHUNK elements
typedef struct { Ptr gap, partials, z, t; long long count; int cols, stride; } BceFwd;

// ---- dot.cu

// partials[k] = sum of a b over the k-th CHUNK elements
typedef struct { Ptr partials, a, b; long long count; } DotPartials;
// length[r] = max(|x|, floor); y = x / length
typedef struct { Ptr y, length, x; double floor; int rows, cols, stride, unused; } L2NormalizeFwd;
// dx = (dy - y <dy, y>) / length; without the second term where the length is the floor
typedef struct { Ptr dx, dy, y, length; double floor; int rows, cols, stride, unused; } L2NormalizeBwd;

// ---- score.cu

// sum += (gate · grad)^2
typedef struct { Ptr sum, gate, grad; long long count; } TaylorAccumulate;

// ---- select.cu

// y[b][k] = x[b][first + k] for k < taken, rows of stride elements
typedef struct { Ptr y, x; long long count; int tokens, first, taken, stride; } SliceTokens;
// y[b][first + k] = x[b][k] for k < taken, 0 for other tokens
typedef struct { Ptr y, x; long long count; int tokens, first, taken, stride; } PlaceTokens;
// y[r][c] = sum over k from sources[c] to before sources[c + 1] of x[r][sources[k]]
typedef struct { Ptr y, x, sources; int rows, cols, stride, x_stride; } CollectColumns;

// ---- patch_embed.cu

// y[b] = [first; second; x[b]] + pos, `tokens` rows of stride elements; of the first two the leading `extra` are there
typedef struct { Ptr y, x, pos, first, second; long long count; int tokens, extra, stride, unused; } EmbedTokens;

// ---- conv2d.cu

// Windows of kernel x kernel pixels, `step` apart, over maps with `padding` zeros around them: out_height x out_width of each
// map. A row holds a window's elements of the channels of one group: by (row, column, channel) for tokens, whose pixels are
// rows, by (channel, row, column) for images [maps, channels, height, width], which are wide.
typedef struct { int images, height, width, out_height, out_width, channels, groups, kernel, step, padding; } Windows;
// out[group][window] = the window's row, zeros behind it; `rows` windows of all maps
typedef struct { Ptr out, x; long long count; Windows of; int rows, stride, x_stride, unused; } Unfold;
// the reverse: every pixel of out is the sum of what the rows x hold of it; count: elements in memory of out
typedef struct { Ptr out, x; long long count; Windows of; int rows, stride, out_stride, unused; } Fold;
// out[o] = w[o][channel][pixel] in the order of the rows, zeros behind them
typedef struct { Ptr out, w; long long count; int images, channels, area, stride; } PackWeight;
// the reverse: out[o][channel][pixel] (+)= x[o]
typedef struct { Ptr out, x; long long count; int images, channels, area, stride, accumulate, unused; } UnpackWeight;

// ---- depthwise.cu: tokens, a group for each channel of x

// y[window][o] = b[o] + sum over the window's pixels of w[o][pixel] x[pixel][o / (outputs / channels)]; b absent: 0
typedef struct { Ptr y, x, w, b; long long count; Windows of; int outputs, stride, x_stride, unused; } DepthwiseFwd;
// dx[pixel][c] = sum over the windows that hold the pixel and the outputs o of c of w[o][pixel] dy[window][o]
typedef struct { Ptr dx, dy, w; long long count; Windows of; int outputs, stride, x_stride, unused; } DepthwiseBwd;
// partials of dw[o][pixel] = sum over windows of dy[window][o] x[pixel][c]; rows: windows, cols: elements of the weight
typedef struct { Ptr partials, dy, x; Windows of; int outputs, rows, cols, stride, x_stride, unused; } DepthwiseColumns;

// ---- activation.cu

// y = f(x + b), b by column, absent: 0; y may be x. The functions by number: 0 x, 1 GELU, 2 ReLU, 3 SiLU, 4 sigmoid
typedef struct { Ptr y, x, b; long long count; int stride, cols, function, unused; } ActivationFwd;
// dx = dy f'(x + b)
typedef struct { Ptr dx, dy, x, b; long long count; int stride, function; } ActivationBwd;

// ---- batchnorm.cu

// partials of sum over rows of (x - mean)^2
typedef struct { Ptr partials, x, mean; int rows, cols, stride, unused; } BatchnormSquares;
// y = f(n gamma + beta) with n = (x - mean) / sqrt(var + eps), all by column, zeros behind the rows; y may be x
typedef struct { Ptr y, x, mean, var, gamma, beta; double eps; int rows, cols, stride, function; } BatchnormFwd;
// partials of dbeta = sum over rows of dz and dgamma = sum over rows of dz n, with dz = dy f'(n gamma + beta)
typedef struct {
  Ptr partials, dy, x, mean, var, gamma, beta;
  double eps;
  int rows, cols, stride, function;
} BatchnormColumns;
// dx = gamma / sqrt(var + eps) (dz - dbeta / rows - n dgamma / rows); dbeta and dgamma absent: dz alone
typedef struct {
  Ptr dx, dy, x, mean, var, gamma, beta, dbeta, dgamma;
  double eps, per_row;
  int rows, cols, stride, function;
} BatchnormBwd;
// running[c] += momentum (batch[c] - running[c]) for mean and variance; counter[0] += 1; nothing where the step that stands at
// `state`, if given, is refused: its grad_scale is not finite
typedef struct { Ptr mean, var, counter, batch_mean, batch_var, state; double momentum; int count, unused; } BatchnormUpdate;

// ---- max_tokens.cu

// y[b][c] = max over the tokens of x[b][., c], NaN when there is one
typedef struct { Ptr y, x; long long count; int tokens, cols, stride, unused; } MaxTokensFwd;
// dx = dy at the first of the largest tokens, 0 at the others
typedef struct { Ptr dx, dy, x; long long count; int tokens, cols, stride, unused; } MaxTokensBwd;

// ---- mix_tokens.cu

// y[b][token] = x[b][token], of image B - 1 - b where the token, on a grid `across` wide, lies in rows top to before bottom and
// columns left to before right
typedef struct { Ptr y, x; long long count; int images, tokens, across, top, bottom, left, right, stride; } MixTokens;

// ---- attention.cu

// y = softmax(scale q kT) v of every head over the keys whose mask is not 0; stats = row maximum, 1 / sum. Each of
// y, map (the probabilities) and stats may be absent. `rows`: queries of a block, 32, 16 or 8; `scores`, then 8: memory
// for the scores of long rows, 8 rows for every block; absent: they fit in shared memory
typedef struct {
  Ptr y, map, stats, scores, qkv, mask;
  double scale;
  int tokens, heads, head_dim, stride, y_stride, mask_stride, rows, unused;
} AttentionFwd;
// dq = scale ds k with ds = p (dy vT - delta); delta = <dy, y> of every query and head, written
typedef struct {
  Ptr dqkv, delta, dy, y, qkv, mask, stats;
  double scale;
  int tokens, heads, head_dim, stride, y_stride, mask_stride;
} AttentionBwdQ;
// dk = scale dsT q, dv = pT dy
typedef struct {
  Ptr dqkv, delta, dy, qkv, mask, stats;
  double scale;
  int tokens, heads, head_dim, stride, y_stride, mask_stride;
} AttentionBwdKv;

// ---- attention_mma.cu: 16-bit types, heads up to 64 wide

// y as above; lse[query] = log2 of the sum of 2^(scale log2(e) q kT), inf without a living key; absent: not wanted.
// `stage`: rows of a head that lie in shared memory at a time, a multiple of 32 unless all of them do
typedef struct {
  Ptr y, lse, qkv, mask;
  double scale;
  int tokens, heads, head_dim, stride, y_stride, mask_stride, stage, unused;
} AttentionMmaFwd;
// dq, dk, dv of every head by two blocks of the grid's x
typedef struct {
  Ptr dqkv, dy, y, qkv, mask, lse;
  double scale;
  int tokens, heads, head_dim, stride, y_stride, mask_stride, stage, unused;
} AttentionMmaBwd;

// ---- window_attention.cu: height by width tokens an image, windows of side `window`, rolled by `shift`; tokens = window²

// y = softmax(scale q kT + bias + mask) v of every head of every window; the rest as in attention.cu, by window
typedef struct {
  Ptr y, stats, scores, qkv, table;
  double scale;
  int tokens, heads, head_dim, stride, y_stride, table_stride, height, width, window, shift, rows, unused;
} WindowAttentionFwd;
// delta = sum over the keys of p (dy vT) of every query and head, written
typedef struct {
  Ptr dqkv, delta, dy, qkv, table, stats;
  double scale;
  int tokens, heads, head_dim, stride, y_stride, table_stride, height, width, window, shift;
} WindowAttentionBwdQ;
typedef struct {
  Ptr dqkv, delta, dy, qkv, table, stats;
  double scale;
  int tokens, heads, head_dim, stride, y_stride, table_stride, height, width, window, shift;
} WindowAttentionBwdKv;
// partials[k][head, query, key] = sum of ds over the k-th CHUNK_WINDOWS windows of the batch, of which there are `windows`
typedef struct {
  Ptr partials, delta, dy, qkv, table, stats;
  double scale;
  int tokens, heads, head_dim, stride, y_stride, table_stride, height, width, window, shift, windows, unused;
} WindowAttentionBwdBias;
// out[entry][head] (+)= sum of sums[head, query, key] over the pairs of that entry of the table
typedef struct { Ptr out, sums; int heads, stride, window, accumulate; } WindowAttentionTable;

// ---- patch_merge.cu: images of `height` by `width` tokens, rows of `cols` elements, `stride` apart

// y[h][w] = x[2h][2w], x[2h + 1][2w], x[2h][2w + 1], x[2h + 1][2w + 1] side by side
typedef struct { Ptr y, x; long long count; int width, cols, stride, x_stride; } PatchMergeFwd;
// the reverse: every row of dx from its part of a row of dy
typedef struct { Ptr dx, dy; long long count; int width, cols, stride, dy_stride; } PatchMergeBwd;

// ---- mean_tokens.cu

// y[b][c] = mean over the tokens of x[b]
typedef struct { Ptr y, x; int images, tokens, stride, unused; } MeanTokensFwd;
// dx[b][n][c] = dy[b][c] / tokens
typedef struct { Ptr dx, dy; long long count; int tokens, stride; } MeanTokensBwd;
