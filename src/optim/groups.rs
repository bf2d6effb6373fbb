//! Parameter groups by ordered rules: the first rule that fits a parameter decides.

use crate::tensor::Tensor;

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
    let patterns = [("*.bias", None), ("pos_embed", None), ("cls_token", None), ("dist_token", None), ("*", Some(1))];
    let (weight_decay, lr_scale) = (Some(0.0), 1.0);
    patterns.map(|(name, max_rank)| GroupRule { pattern: name.into(), max_rank, weight_decay, lr_scale }).into()
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
