//! Parameter groups by ordered rules: the first rule that matches a parameter decides.

use crate::tensor::Tensor;

/// What a group does to its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRule {
    /// Exact names, or `*suffix`, or `prefix*`; empty matches every name.
    pub names: Vec<String>,
    /// Only tensors of at most this many dimensions.
    pub max_rank: Option<usize>,
    /// Weight decay of the group; `None` leaves the optimiser's.
    pub weight_decay: Option<f64>,
    /// Factor on the learning rate; 0 freezes.
    pub lr_scale: f64,
}

impl GroupRule {
    fn matches(&self, name: &str, tensor: &Tensor) -> bool {
        let fits = |pattern: &String| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            (Some(suffix), _) => name.ends_with(suffix),
            (None, Some(prefix)) => name.starts_with(prefix),
            (None, None) => name == pattern,
        };
        let by_name = self.names.is_empty() || self.names.iter().any(fits);
        by_name && self.max_rank.is_none_or(|rank| tensor.shape().len() <= rank)
    }
}

/// DeiT's groups (its training code with timm): no decay for tensors of one dimension, biases, tokens and positions.
pub fn default_rules() -> Vec<GroupRule> {
    let no_decay = |names: &[&str], max_rank: Option<usize>| {
        let names = names.iter().map(ToString::to_string).collect();
        GroupRule { names, max_rank, weight_decay: Some(0.0), lr_scale: 1.0 }
    };
    vec![no_decay(&["*.bias", "pos_embed", "cls_token", "dist_token"], None), no_decay(&[], Some(1))]
}

/// `(weight decay, learning-rate factor)` of a parameter; `decay` where no rule says otherwise.
pub fn group_of(rules: &[GroupRule], name: &str, tensor: &Tensor, decay: f64) -> (f64, f64) {
    let rule = rules.iter().find(|rule| rule.matches(name, tensor));
    rule.map_or((decay, 1.0), |rule| (rule.weight_decay.unwrap_or(decay), rule.lr_scale))
}
