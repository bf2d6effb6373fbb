//! Batches, loaded ahead by worker threads: the same batches bit for bit for any number of workers.
//!
//! The order of an epoch is cut into chunks; workers claim chunks in order and never run further ahead than a bounded
//! window, and the consumer takes chunks in order. A sample depends on (index, epoch) alone.

use super::dataset::{Dataset, Sample};
use crate::noise::Philox;
use crate::{Error, Result};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// How an epoch is cut into batches, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Examples in a batch, at least 1.
    pub batch_size: usize,
    /// Whether each epoch has its own order: a Philox permutation at (seed, epoch, `data/shuffle`).
    pub shuffle: bool,
    /// Whether a last, smaller batch is left out.
    pub drop_last: bool,
    /// Whether broken images are left out (and named by [`Epoch::broken`]) instead of ending the epoch.
    pub skip_broken: bool,
    /// Threads; 0 loads in the caller's thread.
    pub workers: usize,
    /// The number of batches that may be ready or in the making.
    pub prefetch: usize,
    /// The seed of the order.
    pub seed: u64,
}

impl LoaderOptions {
    /// Training: shuffled, full batches only, broken images skipped.
    pub fn train(batch_size: usize, seed: u64) -> Self {
        let mut options = Self::eval(batch_size);
        (options.shuffle, options.drop_last, options.skip_broken, options.seed) = (true, true, true, seed);
        options
    }

    /// Evaluation: in order, every image, a broken one is an error.
    pub fn eval(batch_size: usize) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
        Self { batch_size, shuffle: false, drop_last: false, skip_broken: false, workers, prefetch: 3, seed: 0 }
    }
}

/// Some examples, ready to be copied to a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[labels.len(), 3, img_size, img_size]`.
    pub images: Vec<f32>,
    /// The classes.
    pub labels: Vec<usize>,
    /// The places in the data set.
    pub indices: Vec<usize>,
}

/// A data set cut into batches, epoch by epoch.
pub struct Loader {
    dataset: Arc<dyn Dataset>,
    options: LoaderOptions,
}

impl Loader {
    /// Errors: a batch size, or with workers a prefetch, of 0; with `drop_last` more than the whole set in a batch.
    pub fn new(dataset: Arc<dyn Dataset>, options: LoaderOptions) -> Result<Self> {
        let least = if options.drop_last { dataset.len() } else { usize::MAX };
        if options.batch_size == 0 || options.batch_size > least {
            return Err(Error::invalid("batch_size", format!("1 to {least}"), options.batch_size));
        }
        if options.workers > 0 && options.prefetch == 0 {
            return Err(Error::invalid("prefetch", "at least 1", 0));
        }
        Ok(Self { dataset, options })
    }

    /// The data set.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.dataset
    }

    /// The number of batches of an epoch without broken images.
    pub fn batches(&self) -> usize {
        let (len, size) = (self.dataset.len(), self.options.batch_size);
        if self.options.drop_last { len / size } else { len.div_ceil(size) }
    }

    /// The order in which `epoch` visits the data set.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        let len = self.dataset.len();
        if self.options.shuffle {
            return Philox { seed: self.options.seed, step: epoch }.permutation("data/shuffle", len);
        }
        (0..len).collect()
    }

    /// Starts the workers on one epoch. An error when a thread cannot be started.
    pub fn epoch(&self, epoch: u64) -> Result<Epoch> {
        let mut order = self.order(epoch);
        // Broken images draw on the remainder that drop_last would leave out, so keep it when they are skipped.
        if self.options.drop_last && !self.options.skip_broken {
            order.truncate(self.batches() * self.options.batch_size);
        }
        let chunk = self.options.batch_size.min(16);
        let window = self.options.batch_size.saturating_mul(self.options.prefetch).div_ceil(chunk).max(1);
        let (dataset, state) = (Arc::clone(&self.dataset), Mutex::new(State::default()));
        let shared = Arc::new(Shared { dataset, order, epoch, chunk, window, state, changed: Condvar::new() });
        let mut result = Epoch {
            shared: Arc::clone(&shared),
            options: self.options.clone(),
            workers: Vec::new(),
            next: 0,
            taken: VecDeque::new(),
            broken: Vec::new(),
            some: false,
            done: false,
        };
        for i in 0..self.options.workers.min(shared.chunks()) {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("loader-{i}")).spawn(move || shared.work());
            result.workers.push(thread.map_err(Error::io("start", "a loader thread"))?);
        }
        Ok(result)
    }
}

type Loaded = Vec<(usize, Result<Sample>)>;

#[derive(Default)]
struct State {
    /// The next chunk that nobody has claimed.
    claimed: usize,
    /// The next chunk that the consumer will take.
    consumed: usize,
    ready: BTreeMap<usize, Loaded>,
    stop: bool,
}

struct Shared {
    dataset: Arc<dyn Dataset>,
    order: Vec<usize>,
    epoch: u64,
    chunk: usize,
    window: usize,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn chunks(&self) -> usize {
        self.order.len().div_ceil(self.chunk)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self, chunk: usize) -> Loaded {
        let end = self.order.len().min((chunk + 1) * self.chunk);
        let one = |&index: &usize| {
            let sample = catch_unwind(AssertUnwindSafe(|| self.dataset.sample(index, self.epoch)));
            (index, sample.unwrap_or_else(|panic| Err(panic_error(index, &*panic))))
        };
        self.order[chunk * self.chunk..end].iter().map(one).collect()
    }

    fn work(&self) {
        loop {
            let mut state = self.lock();
            while !state.stop && state.claimed < self.chunks() && state.claimed >= state.consumed + self.window {
                state = self.wait(state);
            }
            let chunk = state.claimed;
            if state.stop || chunk >= self.chunks() {
                return;
            }
            state.claimed += 1;
            drop(state);
            let loaded = self.load(chunk);
            self.lock().ready.insert(chunk, loaded);
            self.changed.notify_all();
        }
    }

    /// Chunk `chunk` as a worker made it; waits for it.
    fn take(&self, chunk: usize) -> Loaded {
        let mut state = self.lock();
        loop {
            if let Some(loaded) = state.ready.remove(&chunk) {
                state.consumed = chunk + 1;
                self.changed.notify_all();
                return loaded;
            }
            state = self.wait(state);
        }
    }
}

fn panic_error(index: usize, panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_string());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Error::invalid(format!("sample {index}"), "no panic", text)
}

/// The batches of one epoch, in order; dropping it stops the workers. After an error it ends.
pub struct Epoch {
    shared: Arc<Shared>,
    options: LoaderOptions,
    workers: Vec<JoinHandle<()>>,
    next: usize,
    taken: VecDeque<(usize, Result<Sample>)>,
    broken: Vec<(usize, Error)>,
    /// Whether a batch was handed out.
    some: bool,
    done: bool,
}

impl Epoch {
    /// The images left out so far: index and reason (which names the file).
    pub fn broken(&self) -> &[(usize, Error)] {
        &self.broken
    }

    /// The next usable sample in order, `None` at the end.
    fn next_sample(&mut self) -> Result<Option<(usize, Sample)>> {
        loop {
            match self.taken.pop_front() {
                Some((index, Ok(sample))) => return Ok(Some((index, sample))),
                Some((index, Err(error @ (Error::Image { .. } | Error::Io { .. })))) if self.options.skip_broken => {
                    self.broken.push((index, error));
                }
                Some((_, Err(error))) => return Err(error),
                None if self.next == self.shared.chunks() => return Ok(None),
                None => {
                    let inline = self.workers.is_empty();
                    let loaded = if inline { self.shared.load(self.next) } else { self.shared.take(self.next) };
                    self.taken = loaded.into();
                    self.next += 1;
                }
            }
        }
    }

    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let (size, side) = (self.options.batch_size, self.shared.dataset.img_size());
        let (values, classes) = (3 * side * side, self.shared.dataset.num_classes());
        let capacity = size.min(self.shared.order.len());
        let mut batch = Batch { images: Vec::with_capacity(capacity * values), labels: vec![], indices: vec![] };
        while batch.labels.len() < size {
            let Some((index, sample)) = self.next_sample()? else { break };
            if sample.pixels.len() != values || sample.label >= classes {
                let found = (sample.pixels.len(), sample.label);
                let expected = format!("sample {index} of {values} values, label below {classes}");
                return Err(Error::shape("loader", expected, found));
            }
            batch.images.extend_from_slice(&sample.pixels);
            batch.labels.push(sample.label);
            batch.indices.push(index);
        }
        let count = batch.labels.len();
        if count == 0 && !self.broken.is_empty() && self.broken.len() == self.shared.order.len() {
            let found = format!("all {} broken, the last: {}", self.broken.len(), self.broken[self.broken.len() - 1].1);
            return Err(Error::invalid("data set", "at least one usable image", found));
        }
        if count < size && self.options.drop_last && !self.some {
            let usable = self.shared.order.len() - self.broken.len();
            return Err(Error::invalid("data set", format!("{size} usable images for one batch"), usable));
        }
        self.some = true;
        Ok((count == size || (count > 0 && !self.options.drop_last)).then_some(batch))
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let batch = self.next_batch().transpose();
        self.done = !matches!(batch, Some(Ok(_)));
        batch
    }
}

impl Drop for Epoch {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches its panics; nothing more can be done about one here.
            let _ = worker.join();
        }
    }
}
