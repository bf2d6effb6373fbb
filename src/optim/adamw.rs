//! AdamW over a model's parameters in groups, clipping, and the moving average.

use crate::{Error, Result, Tensor, gpu::params::StepNumbers, nn::Params, ops, ops::AdamwTensor, ops::Numbers};

/// AdamW with decoupled decay (equation in [`ops::adamw`](mod@crate::ops::adamw)), its moments, and the step count.
#[derive(Debug, Clone)]
pub struct AdamW {
    /// Decay of the first and second moment.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Weight decay where no rule says otherwise.
    pub weight_decay: f64,
    /// Parameter groups: the first rule that fits a parameter decides.
    pub rules: Vec<GroupRule>,
    /// First moments by parameter name.
    pub m: Params,
    /// Second moments by parameter name.
    pub v: Params,
    /// Steps done.
    pub steps: usize,
}

impl AdamW {
    /// Moments of zero for every parameter, betas 0.9 and 0.999, eps 1e-8, weight decay 0.05 with DeiT's groups.
    pub fn new(params: &Params) -> Result<Self> {
        let zero = |(name, t): (&str, &Tensor)| Ok((name.to_string(), t.new_full(*t.shape(), 0.0)?));
        let zeros = || params.iter().map(zero).collect::<Result<Params>>();
        let (betas, rules) = ((0.9, 0.999), default_rules());
        Ok(Self { betas, eps: 1e-8, weight_decay: 0.05, rules, m: zeros()?, v: zeros()?, steps: 0 })
    }

    /// One step at rate `lr` on gradients by name, each multiplied by `scale`. Parameters without a gradient, and
    /// those whose group has a rate factor of 0, stay as they are.
    pub fn step(&mut self, params: &mut Params, grads: &Params, lr: f64, scale: f64) -> Result<()> {
        self.steps += 1;
        let numbers = StepNumbers { grad_scale: scale, ..self.numbers(lr) };
        self.update(params, grads, None, Numbers::Host(numbers))
    }

    /// The numbers of the last step that [`AdamW::steps`] counts, at rate `lr`, without clipping.
    pub fn numbers(&self, lr: f64) -> StepNumbers {
        let power = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let [bias1, bias2] = [self.betas.0, self.betas.1].map(|beta| 1.0 - beta.powi(power));
        StepNumbers {
            lr,
            bias1,
            bias2,
            loss_scale: 1.0,
            grad_scale: 1.0,
            grad_norm: 0.0,
            step: (self.steps as u64).saturating_sub(1),
        }
    }

    /// The update alone, with given `numbers`; with an `average` and its decay that of every parameter follows.
    pub fn update(
        &mut self, params: &mut Params, grads: &Params, mut average: Option<(&mut Params, f64)>, numbers: Numbers,
    ) -> Result<()> {
        let fits = self.m.len() == params.len() && self.v.len() == params.len();
        let fits = fits && average.as_ref().is_none_or(|(average, _)| average.len() == params.len());
        Error::ensure_shape(fits, "adamw", format_args!("{} moments and averages", params.len()), self.m.len())?;
        let mut averages = average.iter_mut().flat_map(|(all, decay)| all.iter_mut().map(|(_, one)| (one, *decay)));
        let state = if let Numbers::Device(state) = numbers { Some(state) } else { None };
        let mut list = Vec::new();
        for (((name, param), (_, m)), (_, v)) in params.iter_mut().zip(self.m.iter_mut()).zip(self.v.iter_mut()) {
            let (weight_decay, lr_scale) = group_of(&self.rules, name, param, self.weight_decay);
            let average = averages.next();
            match grads.find(name).filter(|_| lr_scale != 0.0) {
                Some(grad) => list.push(AdamwTensor { param, m, v, grad, weight_decay, lr_scale, average }),
                // It moves towards where it is, unless the step is refused.
                None => {
                    average.map_or(Ok(()), |(average, decay)| ops::ema(average, param, decay_of(name, decay), state))?
                }
            }
        }
        ops::adamw(list, self.betas, self.eps, numbers)
    }
}

/// What a group does to its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRule {
    /// An exact name, `*suffix` or `prefix*`; `*` fits every name.
    pub pattern: String,
    /// Only tensors of at most this many dimensions.
    pub max_rank: Option<usize>,
    /// Weight decay of the group; `None` leaves the optimiser's.
    pub weight_decay: Option<f64>,
    /// Factor on the learning rate; 0 freezes.
    pub lr_scale: f64,
}

/// DeiT's groups (its training code with timm): no decay for tensors of one dimension, biases, tokens and positions.
pub fn default_rules() -> Vec<GroupRule> {
    no_decay_rules(&["pos_embed", "cls_token", "dist_token"])
}

/// No decay for tensors of at most one dimension, biases, and what `patterns` fit.
pub fn no_decay_rules(patterns: &[impl AsRef<str>]) -> Vec<GroupRule> {
    let named = patterns.iter().map(|pattern| (pattern.as_ref(), None));
    let all = [("*.bias", None)].into_iter().chain(named).chain([("*", Some(1))]);
    let rule = |(name, max_rank): (&str, _)| GroupRule {
        pattern: name.into(),
        max_rank,
        weight_decay: Some(0.0),
        lr_scale: 1.0,
    };
    all.map(rule).collect()
}

/// `(weight decay, learning-rate factor)` of a parameter; `decay` where no rule says otherwise.
pub fn group_of(rules: &[GroupRule], name: &str, tensor: &Tensor, decay: f64) -> (f64, f64) {
    let named = |pattern: &str| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(suffix), _) => name.ends_with(suffix),
        (None, Some(prefix)) => name.starts_with(prefix),
        (None, None) => name == pattern,
    };
    let fits =
        |rule: &&GroupRule| named(&rule.pattern) && rule.max_rank.is_none_or(|rank| tensor.shape().len() <= rank);
    rules.iter().find(fits).map_or((decay, 1.0), |rule| (rule.weight_decay.unwrap_or(decay), rule.lr_scale))
}

/// `min(1, max_norm / (norm + 1e-6))`: the factor that clips gradients of global norm `norm`.
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}

/// `average ← decay · average + (1 - decay) · parameter`, of each parameter by its place; begins as a clone of them.
pub fn ema(average: &mut Params, params: &Params, decay: f64) -> Result<()> {
    let mut pairs = average.iter_mut().zip(params.iter());
    pairs.try_for_each(|((_, average), (name, param))| ops::ema(average, param, decay_of(name, decay), None))
}

/// 0 for a count of batches: that is copied.
fn decay_of(name: &str, decay: f64) -> f64 {
    if name.ends_with(".num_batches_tracked") { 0.0 } else { decay }
}
