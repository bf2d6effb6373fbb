//! Which examples an epoch has, in which order, and which of them are one process's among many.

use crate::{Error, Result, noise::Philox};
use serde::{Deserialize, Serialize};

/// The order of an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As they lie in the data set; of several processes each example is one's alone.
    #[default]
    Sequential,
    /// A permutation at (seed, epoch, `data/shuffle`), the same in all processes; all have equally many, so that the
    /// first few may come twice.
    Shuffled,
    /// Repeated augmentation (Hoffer et al., 2020) as DeiT does it: the permutation with every example this many times in
    /// a row, each time augmented anew, and of it as many as without repetition, down to a multiple of 256.
    Repeated(usize),
}

/// One process of `world`: it takes the places rank, rank + world, … of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the line above says it")]
pub struct Shard {
    pub rank: usize,
    pub world: usize,
}

impl Default for Shard {
    /// The only process.
    fn default() -> Self {
        Self { rank: 0, world: 1 }
    }
}

/// An example and its augmentation: equal ones look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct View {
    /// The place in the data set.
    pub index: usize,
    /// Which of its augmentations: the epoch, or epoch · repetitions + repetition.
    pub draw: u64,
}

impl Order {
    /// Errors: a rank that is not below `world`, 0 or more than 64 repetitions, repetitions of fewer than 256 examples.
    pub fn validate(self, shard: Shard, len: usize) -> Result<()> {
        let Shard { rank, world } = shard;
        Error::ensure(rank < world, "rank", format_args!("below the world of {world}"), rank)?;
        let Order::Repeated(repeats) = self else { return Ok(()) };
        Error::ensure((1..=64).contains(&repeats), "repetitions", "1 to 64", repeats)?;
        Error::ensure(len >= 256, "repeated augmentation", "at least 256 images", len)
    }

    /// How many of `n` examples an epoch of `shard` has.
    pub fn len(self, Shard { rank, world }: Shard, n: usize) -> usize {
        match self {
            Order::Sequential => n.saturating_sub(rank).div_ceil(world.max(1)),
            Order::Shuffled => n.div_ceil(world.max(1)),
            Order::Repeated(_) => n / 256 * 256 / world.max(1),
        }
    }

    /// The views of one epoch over `n` examples.
    pub fn epoch(self, shard: Shard, n: usize, seed: u64, epoch: u64) -> Vec<View> {
        let list = match self {
            Order::Sequential => (0..n).collect(),
            _ => Philox { seed, step: epoch }.permutation("data/shuffle", n),
        };
        self.views(shard, &list, epoch)
    }

    /// The views of one epoch when `list` is the order of the examples without repetition.
    pub fn views(self, shard: Shard, list: &[usize], epoch: u64) -> Vec<View> {
        let repeats = if let Order::Repeated(repeats) = self { repeats } else { 1 };
        let view = |place: usize| {
            let place = place % (list.len() * repeats); // the end wraps around to the beginning
            View { index: list[place / repeats], draw: epoch * repeats as u64 + (place % repeats) as u64 }
        };
        (shard.rank..).step_by(shard.world.max(1)).map(view).take(self.len(shard, list.len())).collect()
    }
}
