//! CIFAR-10 and CIFAR-100 in their binary form: records of one label byte (CIFAR-100: coarse, then fine) and the 32 × 32
//! pixels as three planes, red, green, blue; the class names stand beside them, one a line.

use super::dataset::{Dataset, Sample, check_index};
use super::{augment::Transform, generated::Split, image::RgbImage};
use crate::{Error, Result, noise::Philox};
use std::{fs, path::Path, sync::Arc};

const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE;

/// What distinguishes the two sets; the label is the last byte before the pixels.
struct Form {
    train: &'static [&'static str],
    test: &'static [&'static str],
    names: &'static str,
    classes: usize,
    labels: usize,
}

const CIFAR_10: Form = Form {
    train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    test: &["test_batch.bin"],
    names: "batches.meta.txt",
    classes: 10,
    labels: 1,
};
const CIFAR_100: Form =
    Form { train: &["train.bin"], test: &["test.bin"], names: "fine_label_names.txt", classes: 100, labels: 2 };

/// One split of `cifar-10-batches-bin` or `cifar-100-binary` under a [`Transform`].
#[derive(Debug, Clone)]
pub struct CifarDataset {
    names: Vec<String>,
    /// Label and planes of each image.
    images: Arc<[(usize, Vec<u8>)]>,
    transform: Transform,
    seed: u64,
}

impl CifarDataset {
    /// Whether `folder` has the class names or the first images of one of the two.
    pub fn is_at(folder: &Path) -> bool {
        form_of(folder).is_some()
    }

    /// Reads all files of the split. Errors: neither set's names, another number of names, a file that is missing or
    /// ends inside a record, a label that has no name, an invalid transform.
    pub fn open(folder: impl AsRef<Path>, split: Split, transform: Transform, seed: u64) -> Result<Self> {
        let folder = folder.as_ref();
        transform.validate()?;
        let expected = format!("{} or {}", CIFAR_10.names, CIFAR_100.names);
        let form = form_of(folder).ok_or_else(|| Error::invalid(folder.display().to_string(), expected, "neither"))?;
        let path = folder.join(form.names);
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let names: Vec<String> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect();
        let expected = format_args!("{} class names", form.classes);
        Error::ensure(names.len() == form.classes, path.display(), expected, names.len())?;
        let files = if split == Split::Train { form.train } else { form.test };
        let mut images = Vec::new();
        for file in files {
            read(&folder.join(file), &form, &mut images)?;
        }
        Ok(Self { names, images: images.into(), transform, seed })
    }

    /// The same images, not read again, under another transform.
    pub fn with_transform(&self, transform: Transform) -> Result<Self> {
        transform.validate().map(|()| Self { transform, ..self.clone() })
    }

    /// Image `index` as it lies in the file. An error when there is none.
    pub fn image(&self, index: usize) -> Result<RgbImage> {
        check_index(index, self.images.len())?;
        let planes = &self.images[index].1;
        let pixels = (0..PIXELS).flat_map(|i| [planes[i], planes[PIXELS + i], planes[2 * PIXELS + i]]).collect();
        RgbImage::new(SIDE, SIDE, pixels)
    }
}

fn form_of(folder: &Path) -> Option<Form> {
    let has = |form: &Form| [form.names, form.train[0]].iter().any(|name| folder.join(name).is_file());
    [CIFAR_10, CIFAR_100].into_iter().find(has)
}

fn read(path: &Path, form: &Form, images: &mut Vec<(usize, Vec<u8>)>) -> Result<()> {
    let bytes = fs::read(path).map_err(Error::io("read", path))?;
    let record = form.labels + 3 * PIXELS;
    let (whole, found) = (!bytes.is_empty() && bytes.len() % record == 0, format_args!("{} bytes", bytes.len()));
    Error::ensure(whole, path.display(), format_args!("whole records of {record} bytes"), found)?;
    for (index, record) in bytes.chunks_exact(record).enumerate() {
        let (labels, planes) = record.split_at(form.labels);
        let label = labels.last().map_or(0, |&label| usize::from(label));
        let what = format_args!("{}: label of image {index}", path.display());
        Error::ensure(label < form.classes, what, format_args!("below {}", form.classes), label)?;
        images.push((label, planes.to_vec()));
    }
    Ok(())
}

impl Dataset for CifarDataset {
    fn len(&self) -> usize {
        self.images.len()
    }
    fn class_names(&self) -> &[String] {
        &self.names
    }
    fn img_size(&self) -> usize {
        self.transform.img_size
    }
    fn describe(&self) -> String {
        let mut all = crc32fast::Hasher::new();
        self.names.iter().for_each(|name| all.update(name.as_bytes()));
        for (label, planes) in self.images.iter() {
            all.update(&label.to_le_bytes());
            all.update(planes);
        }
        format!("{} images of {} classes, {:08x} by all that they are", self.len(), self.num_classes(), all.finalize())
    }
    fn sample(&self, index: usize, draw: u64) -> Result<Sample> {
        let (image, noise) = (self.image(index)?, Philox { seed: self.seed, step: draw });
        Ok(Sample { pixels: self.transform.apply(&image, &noise, index as u64)?, label: self.images[index].0 })
    }
}
