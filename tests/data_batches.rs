//! What happens to batches: their order over epochs and processes, mixing, CIFAR's files, the same bits from any number of
//! workers.

use espalier::data::augment::{Augment, Interpolation, Transform};
use espalier::data::cifar::CifarDataset;
use espalier::data::dataset::Dataset;
use espalier::data::generated::Split;
use espalier::data::loader::{Batch, Loader, LoaderOptions};
use espalier::data::mixup::{Mix, MixMode, Mixup, beta, mix_images, mix_targets};
use espalier::data::sampler::{Order, Shard, View};
use espalier::data::source::{Images, Source};
use espalier::noise::Philox;
use espalier::train::recipe::Recipe;
use espalier::{Result, ops};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::{fs, io::Write, path::Path, sync::Arc};

/// The published mixing.
const MIXUP: Mixup = Mixup { mixup: 0.8, cutmix: 1.0, probability: 1.0, switch: 0.5, mode: MixMode::Batch };

fn indices(views: &[View]) -> Vec<usize> {
    views.iter().map(|view| view.index).collect()
}

proptest! {
    #[test]
    fn shards_cover_the_set(n in 0usize..2000, world in 1usize..9, epoch in 0u64..5) {
        let all = |order: Order| {
            let shards = (0..world).map(|rank| Shard { rank, world });
            shards.map(|shard| {
                let views = order.epoch(shard, n, 3, epoch);
                assert_eq!(views.len(), order.len(shard, n));
                assert!(views.iter().all(|view| view.index < n));
                views
            }).collect::<Vec<_>>()
        };
        // Evaluation: every image once, none twice, however they divide.
        let mut seen: Vec<usize> = all(Order::Sequential).concat().iter().map(|view| view.index).collect();
        seen.sort();
        prop_assert_eq!(seen, (0..n).collect::<Vec<_>>());
        // Training: equally long lists that together have every image.
        let lists = all(Order::Shuffled);
        prop_assert!(lists.iter().all(|list| list.len() == n.div_ceil(world)));
        let seen: BTreeSet<usize> = indices(&lists.concat()).into_iter().collect();
        prop_assert_eq!(seen.len(), n);
        prop_assert!(lists.concat().iter().all(|view| view.draw == epoch));
        // Repeated augmentation: no view twice but by the wrap at the end, a third of the images or a bit more.
        let lists = all(Order::Repeated(3));
        prop_assert!(lists.iter().all(|list| list.len() == n / 256 * 256 / world));
        let views: BTreeSet<(usize, u64)> = lists.concat().iter().map(|view| (view.index, view.draw)).collect();
        prop_assert_eq!(views.len(), n / 256 * 256 / world * world);
        prop_assert!(views.iter().all(|(_, draw)| draw / 3 == epoch));
    }
}

/// The batches of one step in parts are the ones that as many processes have, image by image and draw by draw.
#[test]
fn parts_of_a_step_are_the_batches_of_processes() {
    let temporary = tempfile::tempdir().expect("folder");
    cifar_10(temporary.path());
    let data = CifarDataset::open(temporary.path(), Split::Train, Augment::default().train(32), 5).expect("data");
    let data: Arc<dyn Dataset> = Arc::new(data);
    const WORLD: usize = 4;
    for order in [Order::Shuffled, Order::Repeated(3)] {
        let batches = |options: LoaderOptions| -> Vec<Batch> {
            let loader = Loader::new(Arc::clone(&data), options).expect("loader");
            loader.epoch(5).expect("epoch").collect::<Result<_>>().expect("batches")
        };
        let options = LoaderOptions { order, workers: 2, ..LoaderOptions::train(16, 3) };
        let steps = batches(LoaderOptions { parts: WORLD, ..options.clone() });
        let mut seen = 0;
        for rank in 0..WORLD {
            let own = batches(LoaderOptions { shard: Shard { rank, world: WORLD }, ..options.clone() });
            for (step, batch) in own.iter().enumerate() {
                assert!(steps[step * WORLD + rank] == *batch, "{order:?}, step {step}, process {rank}");
                seen += 1;
            }
        }
        assert_eq!(seen, steps.len() / WORLD * WORLD);
        assert!(seen >= 16, "{seen}");
    }
}

#[test]
fn orders_that_cannot_be_are_refused() {
    let shard = |rank, world| Shard { rank, world };
    assert!(Order::Shuffled.validate(shard(2, 2), 9).is_err());
    assert!(Order::Sequential.validate(shard(0, 0), 9).is_err());
    assert!(Order::Repeated(0).validate(Shard::default(), 1000).is_err());
    assert!(Order::Repeated(3).validate(Shard::default(), 255).unwrap_err().to_string().contains("256"));
    assert!(Order::Repeated(3).validate(shard(3, 4), 256).is_ok());
    for (order, text) in [(Order::Shuffled, "\"shuffled\""), (Order::Repeated(3), "{\"repeated\":3}")] {
        assert_eq!(serde_json::to_string(&order).unwrap(), text);
        assert_eq!(serde_json::from_str::<Order>(text).unwrap(), order);
    }
}

/// `count` records of CIFAR-10 (one label byte) or CIFAR-100 (two).
fn records(count: usize, labels: usize, classes: usize) -> Vec<u8> {
    let record = |image: usize| {
        let label = [200, (image % classes) as u8];
        let pixels = (0..3072).map(move |at| (at / 1024 * 80 + at % 1024 * 7 + image * 31) as u8);
        label.into_iter().skip(2 - labels).chain(pixels)
    };
    (0..count).flat_map(record).collect()
}

/// A small CIFAR-10 at `root`: 60 images in each training file, 20 for testing.
fn cifar_10(root: &Path) {
    let names: Vec<String> = (0..10).map(|class| format!("class {class}")).collect();
    fs::write(root.join("batches.meta.txt"), names.join("\n") + "\n\n").unwrap();
    (1..=5).for_each(|k| fs::write(root.join(format!("data_batch_{k}.bin")), records(60, 1, 10)).unwrap());
    fs::write(root.join("test_batch.bin"), records(20, 1, 10)).unwrap();
}

#[test]
fn cifar_is_read_and_damage_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let open = |split| CifarDataset::open(root, split, Augment::default().eval(32), 0);
    assert!(!CifarDataset::is_at(root));
    assert!(open(Split::Train).unwrap_err().to_string().contains("batches.meta.txt"));
    cifar_10(root);
    assert!(CifarDataset::is_at(root));
    let (train, test) = (open(Split::Train).unwrap(), open(Split::Test).unwrap());
    assert_eq!((train.len(), test.len(), train.num_classes(), train.img_size()), (300, 20, 10, 32));
    assert_eq!((train.class_names()[3].as_str(), train.sample(63, 0).unwrap().label), ("class 3", 3));
    // Planes become pixels: value of channel c at place p of image 1 is 80c + 7p + 31.
    let image = test.image(1).unwrap();
    assert!((0..1024).all(|p| (0..3).all(|c| image.pixels()[3 * p + c] == (80 * c + 7 * p + 31) as u8)));
    let sample = test.sample(1, 0).unwrap();
    assert!((sample.pixels[5] - (66.0 / 255.0 - 0.485) / 0.229).abs() < 1e-6);
    assert!(test.sample(20, 0).is_err() && test.image(20).is_err());

    let damaged = |name: &str, bytes: &[u8], part: &str| {
        let whole = fs::read(root.join(name)).unwrap();
        fs::write(root.join(name), bytes).unwrap();
        let error = open(Split::Train).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(part), "{error}");
        fs::write(root.join(name), whole).unwrap();
    };
    damaged("data_batch_3.bin", &records(60, 1, 10)[..1000], "1000 bytes");
    damaged("data_batch_3.bin", &[], "whole records");
    let mut wrong = records(60, 1, 10);
    wrong[59 * 3073] = 10;
    damaged("data_batch_4.bin", &wrong, "image 59");
    damaged("batches.meta.txt", b"cat\ndog\n", "10 class names");
    fs::remove_file(root.join("data_batch_5.bin")).unwrap();
    assert!(open(Split::Train).unwrap_err().to_string().contains("data_batch_5.bin"));

    let folder = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..100).map(|class| format!("fine{class}")).collect();
    fs::write(folder.path().join("fine_label_names.txt"), names.join("\r\n")).unwrap();
    fs::write(folder.path().join("test.bin"), records(120, 2, 100)).unwrap();
    let test = CifarDataset::open(folder.path(), Split::Test, Augment::default().eval(32), 0).unwrap();
    assert_eq!((test.len(), test.class_names()[99].as_str(), test.sample(101, 0).unwrap().label), (120, "fine99", 1));
}

/// A file of training images that is a pipe, and gone once somebody reads it.
#[cfg(unix)]
#[test]
fn cifar_s_training_images_are_read_once() {
    let folder = tempfile::tempdir().unwrap();
    cifar_10(folder.path());
    let pipe = folder.path().join("data_batch_1.bin");
    fs::remove_file(&pipe).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writer = std::thread::spawn(move || {
        // Opening a pipe for writing waits for a reader.
        let mut file = fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        fs::remove_file(&pipe).unwrap();
        file.write_all(&records(60, 1, 10)).unwrap();
    });
    let source = Source { root: Some(folder.path()), generated: [0; 2], seed: 1, classes: None };
    let augment = Augment::default();
    let images = Images::open(source, &augment.train(32), &augment.eval(32)).unwrap();
    assert_eq!((images.train.len(), images.scoring.len(), images.test.len()), (300, 300, 20));
    let [train, scoring] = [&images.train, &images.scoring].map(|dataset| dataset.sample(70, 0).unwrap());
    assert!(train.label == scoring.label && train.pixels != scoring.pixels);
    writer.join().unwrap();
}

#[test]
fn a_whole_recipe_gives_the_same_batches_for_any_number_of_workers() {
    let folder = tempfile::tempdir().unwrap();
    cifar_10(folder.path());
    let transform =
        Transform { interpolation: Interpolation::Random, ..Recipe::load("deit", &[]).unwrap().augment.train(40) };
    let data = Arc::new(CifarDataset::open(folder.path(), Split::Train, transform, 5).unwrap());
    let run = |workers, world, number| {
        let shard = Shard { rank: world - 1, world };
        let options = LoaderOptions { workers, order: Order::Repeated(3), shard, ..LoaderOptions::train(32, 9) };
        let loader = Loader::new(Arc::clone(&data) as Arc<dyn Dataset>, options).unwrap();
        let batches: Vec<Batch> = loader.epoch(number).unwrap().collect::<Result<_>>().unwrap();
        assert_eq!(batches.len(), loader.batches());
        batches
    };
    let first = run(0, 1, 2);
    assert!(first.len() == 8 && run(1, 1, 2) == first && run(3, 1, 2) == first);
    assert!(run(2, 4, 2).len() == 2 && run(3, 4, 2) == run(0, 4, 2));
    assert!(run(0, 1, 3) != first);
    // The three views of an image are three pictures, drawn as no other epoch draws them.
    let mut views: BTreeMap<usize, Vec<(u64, &[f32])>> = BTreeMap::new();
    for batch in &first {
        let pictures = batch.images.chunks(3 * 40 * 40);
        for ((index, draw), picture) in batch.indices.iter().zip(&batch.draws).zip(pictures) {
            views.entry(*index).or_default().push((*draw, picture));
        }
    }
    assert_eq!(views.len(), 86);
    for pictures in views.values() {
        assert!(pictures.iter().map(|(draw, _)| draw - 6).eq(0..pictures.len() as u64));
        assert!(pictures.windows(2).all(|pair| pair[0].1 != pair[1].1));
    }
}

#[test]
fn beta_has_its_moments() {
    const N: usize = 40_000;
    for alpha in [0.1, 0.5, 0.8, 1.0, 2.5, 30.0] {
        let mut stream = Philox { seed: 4, step: 0 }.stream("beta", 0);
        let draws: Vec<f64> = (0..N).map(|_| beta(alpha, &mut stream)).collect();
        assert!(draws.iter().all(|x| (0.0..=1.0).contains(x)));
        let moment = |k: i32| draws.iter().map(|x| (x - 0.5).powi(k)).sum::<f64>() / N as f64;
        // Central moments of Beta(α, α): 0, 1/(4(2α+1)), 0, 3/(16(2α+1)(2α+3)); the sixth bounds the error of the fourth.
        let second = 1.0 / (4.0 * (2.0 * alpha + 1.0));
        let fourth = 3.0 / (16.0 * (2.0 * alpha + 1.0) * (2.0 * alpha + 3.0));
        let deviation = |variance: f64| 5.0 * (variance / N as f64).sqrt();
        assert!(moment(1).abs() < deviation(second), "{alpha}: mean {}", moment(1));
        assert!((moment(2) - second).abs() < deviation(fourth - second * second), "{alpha}: variance {}", moment(2));
        assert!(moment(3).abs() < deviation(fourth / 4.0), "{alpha}: skew {}", moment(3));
        assert!((moment(4) - fourth).abs() < deviation(fourth / 16.0), "{alpha}: fourth {}", moment(4));
    }
    // Distribution functions that have a closed form: α = ½ is the arcsine law, α = 1 uniform.
    for (alpha, below) in [(0.5, 1.0 / 3.0), (1.0, 0.25)] {
        let mut stream = Philox { seed: 8, step: 0 }.stream("beta", 1);
        let share = (0..N).filter(|_| beta(alpha, &mut stream) < 0.25).count() as f64 / N as f64;
        assert!((share - below).abs() < 5.0 * (below * (1.0 - below) / N as f64).sqrt(), "{alpha}: {share}");
    }
    // Next to nothing and next to infinity stay numbers.
    let mut stream = Philox { seed: 8, step: 0 }.stream("beta", 2);
    assert!((0..1000).all(|_| (0.0..=1.0).contains(&beta(1e-6, &mut stream))));
    assert!((0..1000).all(|_| (beta(1e6, &mut stream) - 0.5).abs() < 0.01));
}

#[test]
fn mixing_is_drawn_as_told() {
    const STEPS: u64 = 4000;
    let at = |mixup: &Mixup, step| mixup.draw(6, 20, 30, &Philox { seed: 1, step }).unwrap();
    let count = |mixup: Mixup, test: fn(&[Mix]) -> bool| (0..STEPS).filter(|step| test(&at(&mixup, *step))).count();
    let near =
        |count: usize, p: f64| (count as f64 - p * STEPS as f64).abs() <= 5.0 * (p * (1.0 - p) * STEPS as f64).sqrt();
    let is_cut = |mixes: &[Mix]| mixes[0].cut.is_some();
    let published = MIXUP;
    assert!(near(count(published, is_cut), 0.5));
    assert!(near(count(Mixup { switch: 0.2, ..published }, is_cut), 0.2));
    assert!(near(count(Mixup { probability: 0.3, ..published }, |mixes| mixes[0] != Mix::NONE), 0.3));
    assert_eq!(count(Mixup { mixup: 0.0, ..published }, is_cut), STEPS as usize);
    assert_eq!(count(Mixup { cutmix: 0.0, ..published }, is_cut), 0);
    assert_eq!(count(Mixup::default(), |mixes| mixes.iter().any(|mix| *mix != Mix::NONE)), 0);
    assert!(published.is_on() && !Mixup::default().is_on() && !Mixup { probability: 0.0, ..published }.is_on());
    for step in 0..200 {
        let batch = at(&published, step);
        assert!(batch.iter().all(|mix| *mix == batch[0]));
        let pairs = at(&Mixup { mode: MixMode::Pair, ..published }, step);
        assert!((0..6).all(|i| pairs[i] == pairs[5 - i]) && pairs[0] != pairs[1]);
        let single = at(&Mixup { mode: MixMode::Elem, ..published }, step);
        assert!(single[0] != single[5] && at(&published, step) == batch);
        for mix in single {
            let Some(rect) = mix.cut else { continue };
            assert!(rect.top + rect.height <= 20 && rect.left + rect.width <= 30);
            assert!((mix.lambda - (1.0 - (rect.height * rect.width) as f64 / 600.0)).abs() < 1e-12);
        }
    }
    assert!(published.draw(5, 8, 8, &Philox { seed: 0, step: 0 }).unwrap_err().to_string().contains("even"));
    assert!(published.draw(0, 8, 8, &Philox { seed: 0, step: 0 }).unwrap().is_empty());
    let text = serde_json::to_string(&published).unwrap();
    assert_eq!(serde_json::from_str::<Mixup>(&text).unwrap(), published);
    assert!(serde_json::from_str::<Mixup>("{\"mixup_alpha\": 1}").is_err());
    for bad in [
        Mixup { mixup: -1.0, ..published },
        Mixup { cutmix: f64::NAN, ..published },
        Mixup { probability: 1.1, ..published },
        Mixup { switch: -0.1, ..published },
    ] {
        assert!(bad.validate().is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn what_is_mixed_is_shared_out(half in 1usize..5, height in 1usize..12, width in 1usize..12, step: u64, mode in 0usize..3) {
        let images = 2 * half;
        let mode = [MixMode::Batch, MixMode::Pair, MixMode::Elem][mode];
        let mixes = Mixup { mode, ..MIXUP }.draw(images, height, width, &Philox { seed: 2, step }).unwrap();
        let plane = height * width;
        // Image i is i everywhere, so that a mixed pixel tells the share of its partner.
        let mut mixed: Vec<f32> = (0..images * 3 * plane).map(|at| (at / (3 * plane)) as f32).collect();
        mix_images(&mut mixed, height, width, &mixes);
        let labels: Vec<usize> = (0..images).collect();
        let mut target = ops::one_hot(&labels, images, 0.1, espalier::DType::F32).unwrap();
        mix_targets(target.slice_mut().unwrap(), &mixes);
        let rows: Vec<&[f32]> = target.slice::<f32>().unwrap().chunks(images).collect();
        for (i, image) in mixed.chunks(3 * plane).enumerate() {
            let partner = images - 1 - i;
            let mean = image.iter().map(|v| f64::from(*v)).sum::<f64>() / image.len() as f64;
            let expected = mixes[i].lambda * i as f64 + (1.0 - mixes[i].lambda) * partner as f64;
            prop_assert!((mean - expected).abs() < 1e-4 * images as f64, "image {} has {}, not {}", i, mean, expected);
            if mixes[i].cut.is_some() {
                prop_assert!(image.iter().all(|v| *v == i as f32 || *v == partner as f32));
            }
            prop_assert!((rows[i].iter().sum::<f32>() - 1.0).abs() < 1e-5);
            let own = 0.9 * mixes[i].lambda + 0.1 / images as f64;
            prop_assert!((f64::from(rows[i][i]) - own).abs() < 1e-6);
        }
    }
}
