//! Folders, the loader's determinism and failures, and the generated data set.

use espalier::data::augment::Augment;
use espalier::data::dataset::{Dataset, FolderDataset, Sample};
use espalier::data::folder::{ImageFolder, imagenet_classes, loose_files};
use espalier::data::generated::{CLASSES, Difficulty, GeneratedDataset, Split};
use espalier::data::loader::{Batch, Loader, LoaderOptions};
use espalier::data::source::{Images, Source};
use espalier::{Error, Result};
use std::path::Path;
use std::sync::Arc;

fn write_png(path: &Path, data: &GeneratedDataset, index: usize) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = data.image(index);
    let file = std::fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, image.size().0 as u32, image.size().1 as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(image.pixels()).unwrap();
}

fn generated(len: usize) -> GeneratedDataset {
    GeneratedDataset::new(Split::Train, len, 16, 5).unwrap()
}

#[test]
fn folders_are_read_in_the_order_of_torchvision() {
    let root = tempfile::tempdir().unwrap();
    let data = generated(1);
    for file in ["n02/b.PNG", "n02/a.png", "n02/x/s/z.png", "n02/x-y/w.png", "n01/1.jpeg", "N03/q.png"] {
        write_png(&root.path().join(file), &data, 0);
    }
    std::fs::write(root.path().join("n01/readme.txt"), "not an image").unwrap();
    std::fs::write(root.path().join("loose.png"), "not in a class").unwrap();
    let folder = ImageFolder::open(root.path()).unwrap();
    assert_eq!(folder.classes, ["N03", "n01", "n02"]);
    let shown: Vec<_> = folder.files.iter().map(|(f, l)| (f.strip_prefix(root.path()).unwrap(), *l)).collect();
    let expected = [
        ("N03/q.png", 0),
        ("n01/1.jpeg", 1),
        ("n02/a.png", 2),
        ("n02/b.PNG", 2),
        ("n02/x-y/w.png", 2),
        ("n02/x/s/z.png", 2),
    ];
    assert_eq!(shown, expected.map(|(f, l)| (Path::new(f), l)));
    let records = [(7, "n02", "b"), (3, "n01", "a"), (0, "N03", "c")];
    assert_eq!(folder.class_indices(&records).unwrap(), [0, 3, 7]);
    assert!(folder.class_indices(imagenet_classes()).unwrap_err().to_string().contains("N03"));
    let loose = loose_files(&[root.path().join("n02/x"), root.path().join("loose.png")]).unwrap();
    assert_eq!(loose, [root.path().join("n02/x/s/z.png"), root.path().join("loose.png")]);
    assert!(loose_files(&[root.path().join("none.png")]).is_err());

    std::fs::create_dir(root.path().join("nothing")).unwrap();
    assert!(ImageFolder::open(root.path()).unwrap_err().to_string().contains("nothing"));
    assert!(ImageFolder::open(root.path().join("nothing")).is_err());
    assert!(ImageFolder::open(root.path().join("missing")).is_err());
}

/// Training images are decoded once for training, scoring and a test on the same: the second and third need no file.
#[test]
fn a_folder_is_read_once() {
    let root = tempfile::tempdir().unwrap();
    for index in 0..4 {
        write_png(&root.path().join(format!("class{}/{index}.png", index % 2)), &generated(4), index);
    }
    let source = Source { root: Some(root.path()), generated: [0; 2], seed: 1, classes: None };
    let augment = Augment::default();
    let images = Images::open(source, &augment.train(16), &augment.eval(16)).unwrap();
    let sample = |dataset: &Arc<dyn Dataset>, index| dataset.sample(index, 0);
    let train: Vec<Sample> = (0..4).map(|index| sample(&images.train, index).unwrap()).collect();
    std::fs::remove_dir_all(root.path().join("class1")).unwrap();
    for (index, train) in train.iter().enumerate() {
        let [scoring, test] = [&images.scoring, &images.test].map(|dataset| sample(dataset, index).unwrap());
        assert_eq!((scoring.label, &scoring), (train.label, &test));
        assert!(scoring.pixels != train.pixels);
    }
}

#[test]
fn imagenet_classes_are_in_label_order() {
    let classes = imagenet_classes();
    assert_eq!(classes.len(), 1000);
    assert_eq!((classes[0], classes[999].0), ((0, "n01440764", "tench"), 999));
    assert!(classes.windows(2).all(|pair| pair[0].1 < pair[1].1));
}

fn epoch(dataset: Arc<dyn Dataset>, options: &LoaderOptions, workers: usize, number: u64) -> Vec<Batch> {
    let loader = Loader::new(dataset, LoaderOptions { workers, ..options.clone() }).unwrap();
    loader.epoch(number).unwrap().collect::<Result<Vec<_>>>().unwrap()
}

#[test]
fn batches_do_not_depend_on_the_number_of_workers() {
    let root = tempfile::tempdir().unwrap();
    for index in 0..53 {
        write_png(&root.path().join(format!("class{}/{index:03}.png", index % 3)), &generated(53), index);
    }
    let folder = ImageFolder::open(root.path()).unwrap();
    let data: Arc<dyn Dataset> = Arc::new(FolderDataset::new(folder, Augment::default().train(16), 1).unwrap());
    let options = LoaderOptions { prefetch: 1, ..LoaderOptions::train(20, 9) };
    let first = epoch(Arc::clone(&data), &options, 0, 4);
    assert_eq!(first.iter().map(|b| b.labels.len()).collect::<Vec<_>>(), [20, 20]);
    for workers in 1..=3 {
        assert_eq!(epoch(Arc::clone(&data), &options, workers, 4), first);
    }
    let next = epoch(Arc::clone(&data), &options, 2, 5);
    assert!(next[0].indices != first[0].indices && next[0].images != first[0].images);

    let eval = epoch(Arc::clone(&data), &LoaderOptions::eval(20), 2, 0);
    let indices: Vec<usize> = eval.iter().flat_map(|b| b.indices.clone()).collect();
    assert_eq!(indices, (0..53).collect::<Vec<_>>());
    assert_eq!(eval[2].images.len(), 13 * 3 * 16 * 16);
    // Leaving an epoch early stops its workers.
    let loader = Loader::new(data, LoaderOptions { workers: 2, ..options }).unwrap();
    assert!(loader.epoch(0).unwrap().next().is_some_and(|batch| batch.is_ok()));
}

/// Fails as told: a broken image at 3, a panic at 30.
struct Faulty {
    inner: GeneratedDataset,
    panics: bool,
}

impl Dataset for Faulty {
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn class_names(&self) -> &[String] {
        self.inner.class_names()
    }
    fn img_size(&self) -> usize {
        self.inner.img_size()
    }
    fn sample(&self, index: usize, epoch: u64) -> Result<Sample> {
        match index {
            3 => Err(Error::Image { file: "bad/3.jpg".into(), detail: "damaged".into() }),
            30 if self.panics => panic!("worker panic on purpose"),
            _ => self.inner.sample(index, epoch),
        }
    }
}

#[test]
fn broken_images_end_an_evaluation_or_are_skipped_and_named() {
    for workers in 0..=3 {
        let data: Arc<dyn Dataset> = Arc::new(Faulty { inner: generated(41), panics: false });
        let options = LoaderOptions { workers, ..LoaderOptions::eval(8) };
        let all: Vec<_> = Loader::new(Arc::clone(&data), options.clone()).unwrap().epoch(0).unwrap().collect();
        assert!(all.len() == 1 && all[0].as_ref().is_err_and(|e| e.to_string().contains("bad/3.jpg")));

        let skip = LoaderOptions { skip_broken: true, ..options };
        let mut run = Loader::new(Arc::clone(&data), skip).unwrap().epoch(0).unwrap();
        let batches: Vec<Batch> = run.by_ref().collect::<Result<_>>().unwrap();
        assert_eq!(batches.iter().map(|b| b.labels.len()).collect::<Vec<_>>(), [8; 5]);
        assert_eq!(batches[0].indices, [0, 1, 2, 4, 5, 6, 7, 8]);
        assert!(run.broken().len() == 1 && run.broken()[0].0 == 3);
    }
}

#[test]
fn panics_and_bad_options_are_errors() {
    for workers in [0, 2] {
        let data: Arc<dyn Dataset> = Arc::new(Faulty { inner: generated(41), panics: true });
        let options = LoaderOptions { workers, skip_broken: true, ..LoaderOptions::eval(8) };
        let last = Loader::new(data, options).unwrap().epoch(0).unwrap().last().unwrap();
        assert!(last.unwrap_err().to_string().contains("on purpose"));
    }
    let data: Arc<dyn Dataset> = Arc::new(generated(5));
    let build = |options| Loader::new(Arc::clone(&data), options).map(|_| ());
    assert!(build(LoaderOptions::eval(0)).is_err());
    assert!(build(LoaderOptions::train(6, 0)).is_err());
    assert!(build(LoaderOptions { prefetch: 0, workers: 1, ..LoaderOptions::eval(1) }).is_err());
    assert!(build(LoaderOptions::eval(usize::MAX)).is_ok());
    assert_eq!(epoch(Arc::clone(&data), &LoaderOptions::eval(usize::MAX), 1, 0).len(), 1);
    assert!(epoch(Arc::new(generated(0)), &LoaderOptions::eval(4), 2, 0).is_empty());
    assert!(data.sample(5, 0).is_err());
    // A loader of nothing but broken images says so.
    let broken: Arc<dyn Dataset> = Arc::new(Only3(Faulty { inner: generated(4), panics: false }));
    let options = LoaderOptions { skip_broken: true, ..LoaderOptions::eval(1) };
    let mut run = Loader::new(broken, options).unwrap().epoch(0).unwrap();
    assert!(run.next().unwrap().is_err() && run.next().is_none());
}

/// Every example is the broken one.
struct Only3(Faulty);

impl Dataset for Only3 {
    fn len(&self) -> usize {
        2
    }
    fn class_names(&self) -> &[String] {
        self.0.class_names()
    }
    fn img_size(&self) -> usize {
        self.0.img_size()
    }
    fn sample(&self, _index: usize, epoch: u64) -> Result<Sample> {
        self.0.sample(3, epoch)
    }
}

#[test]
fn generated_images_are_fixed_by_seed_split_and_index() {
    let data = |split, seed| GeneratedDataset::new(split, 20, 64, seed).unwrap();
    let train = data(Split::Train, 0);
    let bytes: Vec<u8> = (0..10).flat_map(|i| train.image(i).pixels().to_vec()).collect();
    // Whoever changes an image must raise GENERATOR_VERSION and this value with it.
    assert_eq!(crc32fast::hash(&bytes), 964_671_097);
    assert_eq!(train.image(3), data(Split::Train, 0).image(3));
    assert_ne!(train.image(3), data(Split::Train, 1).image(3));
    assert_ne!(train.image(3), data(Split::Test, 0).image(3));
    assert_ne!(train.image(3), train.image(13));
    assert_eq!((train.num_classes(), train.label(13), train.class_names()[9].as_str()), (CLASSES.len(), 3, "plain"));
    let (a, b) = (train.sample(7, 0).unwrap(), train.sample(7, 1).unwrap());
    assert!(a == b && a.pixels.len() == 3 * 64 * 64 && a.label == 7);
}

#[test]
fn the_mask_is_where_the_object_is() {
    // Without clutter and noise the background is one colour, and a plain object another.
    let difficulty = Difficulty { clutter: 0.0, noise: 0.0, ..Difficulty::default() };
    for size in [8, 33, 224] {
        let data = GeneratedDataset::new(Split::Test, 20, size, 0).unwrap().with_difficulty(difficulty).unwrap();
        let (image, mask) = (data.image(9), data.mask(9));
        let share = mask.iter().map(|&m| f64::from(m)).sum::<f64>() / mask.len() as f64;
        assert!((0.05..0.5).contains(&share), "{size}: {share}");
        let inside = mask.iter().position(|&m| m == 1).unwrap();
        let outside = mask.iter().position(|&m| m == 0).unwrap();
        let pixel = |i: usize| &image.pixels()[i * 3..i * 3 + 3];
        assert_ne!(pixel(inside), pixel(outside));
        assert!((0..mask.len()).all(|i| pixel(i) == pixel(if mask[i] == 1 { inside } else { outside })));
    }
    assert!(GeneratedDataset::new(Split::Test, 1, 7, 0).is_err());
    let bad = Difficulty { fine_period: 0.0, ..Difficulty::default() };
    assert!(GeneratedDataset::new(Split::Test, 1, 8, 0).unwrap().with_difficulty(bad).is_err());
}
