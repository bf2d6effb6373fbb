//! Batches, loaded ahead by worker threads: the same batches bit for bit for any number of workers. Of W workers,
//! worker w loads the examples w, w + W, w + 2W … of an epoch's order into a bounded channel of its own; the consumer
//! takes from the channels in turn. A sample depends on its [`View`] alone.

use super::dataset::{Dataset, Sample};
use super::sampler::{Order, Shard, View};
use crate::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc::Receiver, mpsc::sync_channel};
use std::thread;

/// How an epoch is cut into batches, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Examples in a batch, at least 1.
    pub batch_size: usize,
    /// The order of an epoch.
    pub order: Order,
    /// Which part of it is loaded here.
    pub shard: Shard,
    /// Batches that follow each other are those of so many processes: batch `k` of them has every `parts`-th place from `k` on.
    pub parts: usize,
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
        Self { order: Order::Shuffled, drop_last: true, skip_broken: true, seed, ..Self::eval(batch_size) }
    }

    /// Evaluation: in order, every image, a broken one is an error.
    pub fn eval(batch_size: usize) -> Self {
        let workers = thread::available_parallelism().map_or(1, |n| n.get().min(8));
        let (order, shard, parts) = (Order::Sequential, Shard::default(), 1);
        Self { batch_size, order, shard, parts, drop_last: false, skip_broken: false, workers, prefetch: 3, seed: 0 }
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
    /// The augmentations: [`View::draw`].
    pub draws: Vec<u64>,
}

/// A data set cut into batches, epoch by epoch.
pub struct Loader {
    dataset: Arc<dyn Dataset>,
    options: LoaderOptions,
}

impl Loader {
    /// Errors: a batch size, or with workers a prefetch, of 0; with `drop_last` more than an epoch in a batch; an order or
    /// a shard that cannot be.
    pub fn new(dataset: Arc<dyn Dataset>, options: LoaderOptions) -> Result<Self> {
        options.order.validate(options.shard, dataset.len())?;
        let len = options.order.len(options.shard, dataset.len());
        let (size, most) = (options.batch_size, if options.drop_last { len } else { usize::MAX });
        Error::ensure(size > 0 && size <= most, "batch_size", format_args!("1 to {most}"), size)?;
        Error::ensure(options.workers == 0 || options.prefetch > 0, "prefetch", "at least 1", 0)?;
        Ok(Self { dataset, options })
    }

    /// The data set.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.dataset
    }

    /// What tells its batches from others, in words.
    pub fn describe(&self) -> String {
        let LoaderOptions { batch_size, order, shard, parts, seed, .. } = &self.options;
        let Shard { rank, world } = shard;
        format!(
            "{}, {order:?} by seed {seed}, {parts} x {batch_size} a step, part {rank} of {world}",
            self.dataset.describe()
        )
    }

    /// The number of batches of an epoch without broken images.
    pub fn batches(&self) -> usize {
        let LoaderOptions { order, shard, batch_size: size, .. } = self.options;
        let len = order.len(shard, self.dataset.len());
        if self.options.drop_last { len / size } else { len.div_ceil(size) }
    }

    /// Starts the workers on one epoch. An error when a thread cannot be started.
    pub fn epoch(&self, epoch: u64) -> Result<Epoch> {
        self.epoch_from(epoch, 0)
    }

    /// The rest of an epoch of which [`Epoch::place`] examples were handed out before.
    pub fn epoch_from(&self, epoch: u64, place: usize) -> Result<Epoch> {
        let options = self.options.clone();
        let mut order = options.order.epoch(options.shard, self.dataset.len(), options.seed, epoch);
        deal(&mut order, options.parts, options.batch_size);
        // Broken images draw on the remainder that drop_last would leave out, so keep it when they are skipped.
        if options.drop_last && !options.skip_broken {
            order.truncate(self.batches() * options.batch_size);
        }
        let window = options.batch_size.saturating_mul(options.prefetch).min(order.len());
        let count = options.workers.min(window);
        let source = Arc::new(Source { dataset: Arc::clone(&self.dataset), order });
        // Worker w holds its share of the window: one example in its hands, the others in its channel.
        let first = |w: usize| place + (w + count - place % count) % count;
        let start = |w| source.start_worker(first(w), count, (window - w).div_ceil(count) - 1);
        let workers = (0..count).map(start).collect::<Result<_>>()?;
        Ok(Epoch { source, options, workers, next: place, broken: Vec::new(), started: place > 0, done: false })
    }
}

/// Deals each run of `parts` batches out to them; what is left at the end stays as it is.
fn deal(order: &mut [View], parts: usize, batch_size: usize) {
    let parts = parts.max(1);
    for run in order.chunks_exact_mut(parts.saturating_mul(batch_size).max(1)) {
        let dealt: Vec<View> = (0..parts).flat_map(|part| run.iter().skip(part).step_by(parts)).copied().collect();
        run.copy_from_slice(&dealt);
    }
}

/// The examples of one epoch.
struct Source {
    dataset: Arc<dyn Dataset>,
    order: Vec<View>,
}

impl Source {
    /// The example at `place` of the order; a panic is an error.
    fn load(&self, place: usize) -> Result<Sample> {
        let View { index, draw } = self.order[place];
        catch_unwind(AssertUnwindSafe(|| self.dataset.sample(index, draw))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(Error::invalid(format!("sample {index}"), "no panic", text))
        })
    }

    /// A thread that loads the places first, first + step … and is at most `ahead` + 1 examples ahead.
    fn start_worker(self: &Arc<Self>, first: usize, step: usize, ahead: usize) -> Result<Receiver<Result<Sample>>> {
        let (source, (sender, ready)) = (Arc::clone(self), sync_channel(ahead));
        let work = move || {
            let mut places = (first..source.order.len().max(first)).step_by(step);
            // Sending fails when the epoch was dropped: nobody wants the rest.
            let _ = places.try_for_each(|place| sender.send(source.load(place)));
        };
        let thread = thread::Builder::new().name(format!("loader-{first}")).spawn(work);
        thread.map(|_| ready).map_err(Error::io("start", "a loader thread"))
    }
}

/// The batches of one epoch, in order; dropping it makes the workers stop. After an error it ends.
pub struct Epoch {
    source: Arc<Source>,
    options: LoaderOptions,
    workers: Vec<Receiver<Result<Sample>>>,
    /// The place in the order that comes next.
    next: usize,
    broken: Vec<(usize, Error)>,
    /// Whether a batch was handed out.
    started: bool,
    done: bool,
}

impl Epoch {
    /// The images left out so far: index and reason (which names the file).
    pub fn broken(&self) -> &[(usize, Error)] {
        &self.broken
    }

    /// How many examples of the epoch's order were handed out or left out.
    pub fn place(&self) -> usize {
        self.next
    }

    /// The next usable sample in order, `None` at the end.
    fn next_sample(&mut self) -> Result<Option<(View, Sample)>> {
        while let Some(&view) = self.source.order.get(self.next) {
            let worker = self.next.checked_rem(self.workers.len()).map(|w| &self.workers[w]);
            let ready = worker.and_then(|worker| worker.recv().ok());
            let sample = ready.unwrap_or_else(|| self.source.load(self.next));
            self.next += 1;
            match sample {
                Err(error @ (Error::Image { .. } | Error::Io { .. })) if self.options.skip_broken => {
                    self.broken.push((view.index, error));
                }
                sample => return sample.map(|sample| Some((view, sample))),
            }
        }
        Ok(None)
    }

    fn next_batch(&mut self) -> Result<Option<Batch>> {
        let (size, side) = (self.options.batch_size, self.source.dataset.img_size());
        let (values, classes) = (3 * side * side, self.source.dataset.num_classes());
        let len = self.source.order.len();
        let images = Vec::with_capacity(size.min(len) * values);
        let mut batch = Batch { images, labels: Vec::new(), indices: Vec::new(), draws: Vec::new() };
        while batch.labels.len() < size {
            let Some((View { index, draw }, sample)) = self.next_sample()? else { break };
            let (found, label) = (sample.pixels.len(), sample.label);
            let expected = format_args!("sample {index} of {values} values, label below {classes}");
            Error::ensure_shape(found == values && label < classes, "loader", expected, (found, label))?;
            batch.images.extend_from_slice(&sample.pixels);
            batch.labels.push(label);
            batch.indices.push(index);
            batch.draws.push(draw);
        }
        let (count, least) = (batch.labels.len(), if self.options.drop_last { size } else { 1 });
        if let Some((_, last)) = self.broken.last().filter(|_| count < least && !self.started) {
            let found = format!("{count} of {len}, the last broken one: {last}");
            return Err(Error::invalid("data set", format!("at least {least} usable images"), found));
        }
        self.started = true;
        Ok((count >= least).then_some(batch))
    }
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = if self.done { None } else { self.next_batch().transpose() };
        self.done = !matches!(batch, Some(Ok(_)));
        batch
    }
}
