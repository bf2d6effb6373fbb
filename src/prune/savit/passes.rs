//! Forward and backward passes with frozen weights: what a mini-batch says about the gates. Only gates are leaves, so
//! no weight gradient is ever computed. With `o` a gate's output and `y = dL/do`, a mini-batch scores a unit by one
//! [`Method`]; the second derivatives between gate vectors are central differences of gate gradients,
//! `(Σ_j G_j(g_i·(1+ε)) − Σ_j G_j(g_i·(1−ε))) / 2ε`, which never differentiate twice.

use super::{gated::Gates, scores::LayerPicks, scores::taylor, *};
use crate::{models::mean_of_heads, nn::Mode, nn::Pass, nn::Site};

/// Images `[B, 3, H, W]` and soft targets `[B, K]`.
pub type Batch = (Tensor, Tensor);

/// How a mini-batch scores a unit; the numbers of the official code. SAViT, importance of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// 1: the mean of `|y·o|` over samples and tokens (and the columns of a head).
    MeanAbsolute,
    /// 2, of all published results: `(g·dL/dg)²`, the square of the batch's sum.
    Taylor,
    /// 3: the sum over samples of `(Σ y·o)²`, inner sum over tokens (and columns).
    PerSample,
    /// 4: the sum over samples and tokens of `|Σ y·o|`, inner sum over the columns of a head.
    PerToken,
}

/// What a mini-batch says: its mean soft-target cross entropy, `dL/dg` of every gate summed over all uses, and scores.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Scored {
    pub loss: f64,
    pub gradients: Scores,
    pub scores: Scores,
}

/// Scores a mini-batch of `model` behind `gates`; `step` numbers it in errors. Methods 1, 3 and 4 see a gate's last
/// output and the gradient at its first, which are two different uses of the embedding gate as in the official code.
pub fn score(model: &Model, gates: &Gates, batch: &Batch, method: Method, step: usize) -> Result<Scored> {
    let tape = Tape::new();
    let mut gated = Gated::new(model.arch(), gates, model.params().place(), Some(&tape))?;
    if method != Method::Taylor {
        gated.record = Some((tape.clone(), Default::default()));
    }
    let (loss, grads) = backward(model, &gated, batch, &tape, step)?;
    let (gradients, blocks) = (gated.gradients(&grads)?, &model.arch().blocks);
    let scores = match method {
        Method::Taylor => taylor(gates, &gradients)?,
        _ => gates.try_map(|kind, block, _| {
            let (last, first, columns) = match kind {
                Kind::Heads => (Site::GatedHeads(block), Site::GatedHeads(block), blocks[block].head_dim()),
                Kind::Hidden => (Site::GatedHidden(block), Site::GatedHidden(block), 1),
                Kind::Embed => (Site::Residual(2 * blocks.len()), Site::Residual(0), 1),
            };
            gated.output(last, first, &grads).and_then(|(o, y)| reduce(&o, &y, columns, method))
        })?,
    };
    check_scores(&scores, step)?;
    Ok(Scored { loss, gradients, scores })
}

/// Loss and gradients of a pass that tracks nothing but the gates.
fn backward(model: &Model, gated: &Gated, batch: &Batch, tape: &Tape, step: usize) -> Result<(f64, Grads)> {
    let pass = Pass::new(model.params(), None, Mode::eval(), gated)?;
    let [images, targets] = [&batch.0, &batch.1].map(|tensor| tensor.to_device(model.device()));
    let logits = mean_of_heads(model.forward(&pass, &Var::constant(images?))?)?;
    let loss = ops::cross_entropy(&logits, &targets?)?;
    let value = loss.tensor().item()?;
    if !value.is_finite() {
        return Err(Error::NonFinite { step, layer: "loss".into(), value });
    }
    Ok((value, tape.backward(&loss)?))
}

/// A method's reduction of `y·o`, both `[B, N, units · group]`.
fn reduce(o: &Tensor, y: &Tensor, group: usize, method: Method) -> Result<Vec<f64>> {
    let (samples, tokens, columns, group) = (o.dim(0), o.dim(1), o.dim(2), group.max(1));
    let products: Vec<f64> = o.to_f64s()?.iter().zip(y.to_f64s()?).map(|(o, y)| o * y).collect();
    let mut scores = vec![0.0; columns / group];
    let mean = 1.0 / (samples * tokens * group) as f64;
    for sample in products.chunks((tokens * columns).max(1)) {
        let mut inner = vec![0.0; scores.len()];
        for (at, products) in sample.chunks(group).enumerate() {
            let unit = at % scores.len();
            match method {
                Method::MeanAbsolute => scores[unit] += mean * products.iter().map(|p| p.abs()).sum::<f64>(),
                Method::PerToken => scores[unit] += products.iter().sum::<f64>().abs(),
                _ => inner[unit] += products.iter().sum::<f64>(),
            }
        }
        scores.iter_mut().zip(inner).for_each(|(score, inner)| *score += inner * inner);
    }
    Ok(scores)
}

/// Second derivatives between gate vectors, on a copy of the model in the precision asked for.
pub struct Curvature {
    model: Model,
    dtype: DType,
}

impl Curvature {
    /// For `model` in `dtype`: f64 is as good as exact, f32 takes half the time and keeps the third digit.
    pub fn new(model: &Model, dtype: DType) -> Result<Self> {
        let mut model = model.clone();
        for (_, tensor) in model.params_mut().iter_mut() {
            *tensor = tensor.to_dtype(dtype)?;
        }
        Ok(Self { model, dtype })
    }

    /// `1ᵀ H 1` of the blocks between gate vector `(kind, block)` and every other: the change of each vector's summed
    /// gradient along the gates of this one. Two passes.
    fn row(&self, gates: &Gates, batch: &Batch, kind: Kind, block: usize, step: usize) -> Result<Units<f64>> {
        // relative: in f32 rounding then costs about 1e-4 of the largest entry, in f64 all errors stay below 1e-6
        let epsilon = if self.dtype == DType::F64 { 1e-4 } else { 1e-3 };
        let batch = (batch.0.to_dtype(self.dtype)?, batch.1.to_dtype(self.dtype)?);
        let sums = |factor: f64| -> Result<Units<f64>> {
            let mut moved = gates.clone();
            moved.of_mut(kind)[block].iter_mut().for_each(|gate| *gate *= factor);
            let tape = Tape::new();
            let gated = Gated::new(self.model.arch(), &moved, self.model.params().place(), Some(&tape))?;
            let (_, grads) = backward(&self.model, &gated, &batch, &tape, step)?;
            Ok(gated.gradients(&grads)?.map(|_, gradients| vec![gradients.iter().sum()]))
        };
        let row = sums(1.0 + epsilon)?.zip(&sums(1.0 - epsilon)?, |high, low| (high - low) / (2.0 * epsilon))?;
        check_scores(&row, step).map(|()| row)
    }

    /// The nine block sums `q` that `picks` names. Six passes.
    pub fn block_sums(&self, gates: &Gates, batch: &Batch, picks: &LayerPicks, step: usize) -> Result<Hessian> {
        let depth = gates.heads.len().min(gates.hidden.len());
        let known = picks.0.iter().all(|&block| block < depth);
        Error::ensure(known, "picked blocks of the Hessian", format!("below {depth}"), format!("{:?}", picks.0))?;
        let mut q = [[0.0; 3]; 3];
        for i in Kind::ALL {
            let row = self.row(gates, batch, i, picks.pair(i, Kind::Embed).0, step)?;
            q[i as usize] = Kind::ALL.map(|j| row.of(j)[picks.pair(i, j).1][0]);
        }
        Ok(q)
    }

    /// Block sums between all pairs of gate vectors, heads then hidden units then the embedding. `2·(2L + 1)` passes.
    pub fn all_block_sums(&self, gates: &Gates, batch: &Batch) -> Result<Vec<Vec<f64>>> {
        let sums = |row: Units<f64>| row.vectors().map(|(_, _, sum)| sum[0]).collect();
        gates.vectors().map(|(kind, block, _)| Ok(sums(self.row(gates, batch, kind, block, 0)?))).collect()
    }
}
