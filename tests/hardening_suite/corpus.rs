//! Broken and hostile files made on purpose, each with the reader that must refuse it and what the refusal says: which file or
//! key, what was expected, what was found. Small files that would unfold in memory are held to the same bound as all others.

use super::hostile::*;
use super::readers::*;
use super::watch;
use espalier::models::file::{ARCHITECTURE, FORMAT_VERSION, STAGE};
use espalier::models::{Architecture, Model};
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A file by its name, its reader, and the words of the refusal.
pub struct Hostile {
    pub name: &'static str,
    pub reader: Reader,
    pub bytes: Vec<u8>,
    pub words: &'static [&'static str],
}

const EXPANDS: [&str; 2] = ["bad_storage", "expand to far more than the file's size"];

macro_rules! corpus {
    ($($name:ident: $reader:ident($bytes:expr) => $words:expr,)*) => {
        vec![$(Hostile { name: stringify!($name), reader: $reader, bytes: $bytes, words: &$words }),*]
    };
}

fn corpus() -> Vec<Hostile> {
    let all = [pickles(), archives(), headers(), models(), texts(), images(), others()];
    all.into_iter().flatten().collect()
}

/// Streams of opcodes, in a zip archive as PyTorch writes it.
fn pickles() -> Vec<Hostile> {
    const MANY: usize = 12 << 20;
    corpus! {
        pickle_of_values: loaded(pickled(&vec![b'N'; MANY])) => EXPANDS,
        pickle_of_values_deflated: loaded(deflated(&vec![b'N'; MANY])) => EXPANDS,
        pickle_of_marks: loaded(pickled(&vec![b'('; MANY])) => EXPANDS,
        pickle_of_memos: loaded(pickled(&[b"N", &vec![0x94; MANY][..]].concat())) => EXPANDS,
        pickle_of_copies: loaded(deflated(&[b"N", &vec![b'2'; 2 * MANY][..]].concat())) => EXPANDS,
        pickle_of_lists: loaded(pickled(&b"]Na".repeat(MANY / 3))) => EXPANDS,
        pickle_of_items: loaded(pickled(&[b"]q\0", &b"h\0Na".repeat(MANY / 4)[..]].concat())) => EXPANDS,
        pickle_of_globals: loaded(pickled(&b"ctorch\nSize\n".repeat(MANY / 12))) => EXPANDS,
        // A pair of the pair before, 40 times.
        pickle_of_doublings: loaded(pickled(&[b"N", &b"q\0h\0\x86".repeat(40)[..], b"."].concat())) => EXPANDS,
        pickle_that_runs_a_program: loaded(pickled(b"cposix\nsystem\n(X\x02\0\0\0lstR.")) =>
            ["unsafe_global", "\"system\"", "\"posix\""],
        pickle_with_a_huge_string: loaded(pickled(b"X\xff\xff\xff\x7fabc")) => ["truncated", "2147483647 bytes expected"],
        pickle_without_a_stop: loaded(pickled(b"}")) => ["truncated"],
        pickle_with_a_tail: loaded(pickled(b"}.abc")) => ["bad_pickle", "3 bytes after the end of data.pkl"],
    }
}

/// Archives, and files that are none.
fn archives() -> Vec<Hostile> {
    corpus! {
        zip_bomb: loaded(zip(&[("a/data.pkl", b"}.", false), ("a/byteorder", &vec![0; 256 << 20], true)])) =>
            ["bad_storage", "expand to far more"],
        zip_of_many_entries: loaded(many_entries(300_000)) => EXPANDS,
        zip_without_pickle: loaded(zip(&[("a/b", b"", false)])) => ["bad_archive", "no data.pkl"],
        zip_twice_the_same: loaded(zip(&[("a/data.pkl", b"}.", false), ("a/data.pkl", b"}.", false)])) =>
            ["bad_archive", "two entries a/data.pkl"],
        zip_of_torchscript: loaded(zip(&[("a/data.pkl", b"}.", false), ("a/constants.pkl", b"", false)])) =>
            ["bad_archive", "TorchScript"],
        zip_cut: loaded(pickled(b"}.")[..60].into()) => ["truncated"],
        a_web_page: loaded(b"<!DOCTYPE html><html>404</html>".into()) => ["unknown_format", "neither safetensors nor a .pth"],
        a_pointer_of_git_lfs: loaded(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n".into()) =>
            ["unknown_format"],
        an_empty_file: loaded(Vec::new()) => ["truncated", "0 bytes are no checkpoint"],
    }
}

/// Headers of safetensors.
fn headers() -> Vec<Hostile> {
    const MANY: usize = 1 << 20;
    let members = (0..MANY).map(|at| format!("\"{at}\":0,")).collect::<String>();
    let notes = (0..MANY).map(|at| format!("\"{at}\":\"\",")).collect::<String>();
    let shape = "0,".repeat(8 * MANY);
    let tensor = |dtype: &str, shape: &str, offsets: &str| {
        format!("{{\"w\":{{\"dtype\":\"{dtype}\",\"shape\":[{shape}],\"data_offsets\":[{offsets}]}}}}")
    };
    corpus! {
        header_of_members: loaded(safetensors(&format!("{{{members}\"x\":0}}"), b"")) => ["expand to far more"],
        header_of_notes: loaded(safetensors(&format!("{{\"__metadata__\":{{{notes}\"x\":\"\"}}}}"), b"")) =>
            ["expand to far more"],
        header_of_axes: loaded(safetensors(&tensor("F32", &format!("{shape}0"), "0,0"), b"")) => ["expand to far more"],
        header_longer_than_the_file: loaded(b"\xff\xff\xff\x04\0\0\0\0{}".into()) => ["truncated", "83886079 bytes expected"],
        header_that_nests: loaded(safetensors(&format!("{{\"a\":{}", "[".repeat(100_000)), b"")) => ["bad_header"],
        header_with_a_key_twice: loaded(safetensors("{\"__metadata__\":{},\"__metadata__\":{}}", b"")) =>
            ["bad_header", "duplicate key __metadata__"],
        tensor_outside: loaded(safetensors(&tensor("F32", "2", "0,8"), b"abcd")) => ["truncated", "w: ends at 8, the data at 4"],
        tensor_that_overflows: loaded(safetensors(&tensor("F32", "4294967296,4294967296", "0,0"), b"")) =>
            ["bad_offsets", "w: ", "[4294967296, 4294967296]"],
        tensor_of_another_type: loaded(safetensors(&tensor("F8_E4M3", "1", "0,1"), b"a")) =>
            ["unsupported_dtype", "w: element type F8_E4M3"],
        tensor_of_integers: loaded(safetensors(&tensor("I32", "1", "0,4"), b"abcd")) =>
            ["key w", "expected a float type, found I32"],
        tensor_of_infinity: loaded(safetensors(&tensor("F32", "1", "0,4"), &f32::INFINITY.to_le_bytes())) =>
            ["key w", "expected finite values, found inf at element 0"],
    }
}

/// Models that are not what they say.
fn models() -> Vec<Hostile> {
    let arch = |change: &str, to: &str| with_metadata(ARCHITECTURE, &ARCH.replace(change, to));
    corpus! {
        model_of_a_newer_form: loaded(with_metadata(FORMAT_VERSION, "2")) =>
            ["key espalier.format_version", "expected 1, found 2"],
        model_of_nonsense: loaded(with_metadata(ARCHITECTURE, "{")) => ["key espalier.architecture", "EOF"],
        model_of_another_family: loaded(arch("deit", "resnet")) => ["espalier.architecture", "unknown variant `resnet`"],
        model_of_half_a_class: loaded(arch("\"num_classes\":5", "\"num_classes\":0.5")) => ["espalier.architecture", "0.5"],
        model_of_endless_images: loaded(arch("\"img_size\":8", "\"img_size\":1048576")) =>
            ["espalier.architecture", "at most 16384 tokens"],
        model_without_images: loaded(arch("\"patch_size\":4", "\"patch_size\":0")) =>
            ["espalier.architecture", "patch_size", "found 0"],
        model_of_many_blocks: loaded(arch(BLOCK, &[BLOCK; 9000].join(","))) =>
            ["key espalier.architecture", "tensors of 9000 blocks", "1 tensors"],
        model_of_long_description: loaded(arch(BLOCK, &[BLOCK; 34_000].join(","))) =>
            ["key espalier.architecture", "more than 2097152"],
        model_that_nests: loaded(with_metadata(ARCHITECTURE, &"[".repeat(100_000))) => ["key espalier.architecture"],
        model_that_unfolds: loaded(arch("\"kind\":\"attention\"", &format!("\"x\":[{}0]", "0,".repeat(1 << 20)))) =>
            ["espalier.architecture", "more than 2097152"],
        model_that_unfolds_less: loaded(arch("\"kind\":\"attention\"", &format!("\"x\":[{}0]", "0,".repeat(1_000_000)))) =>
            ["espalier.architecture", "missing field `kind`"],
        model_with_a_huge_head: new_head(arch("5,\"embed_dim\":8", "1048576,\"embed_dim\":1048576")) =>
            ["key cls_token", "the 20 keys of the model", "missing"],
        model_of_huge_images: larger_images(wide_positions()) => ["key pos_embed", "expected [1, 16130, 12000]", "[1, 2, 12000]"],
        stage_alone: loaded(with_metadata(STAGE, "dense")) => ["key patch_embed.proj.weight", "a tensor", "no such key"],
        training_without_settings: training(with_metadata(STAGE, "dense")) =>
            ["key espalier.training", "training settings", "found none"],
    }
}

/// Recipes, plans, calibrations.
fn texts() -> Vec<Hostile> {
    let planned = |steps: &str| format!("{{\"method\":\"savit\",\"source\":{ARCH},\"steps\":[{steps}]}}").into_bytes();
    let scores = |heads: &str| {
        let rest = "\"hidden\":[[1.0,2.0]],\"embed\":[1,1,1,1,1,1,1,1]";
        let hessian = "[[1,0,0],[0,1,0],[0,0,1]]";
        format!("{{\"model\":{ARCH},\"scores\":{{\"heads\":[{heads}],{rest}}},\"hessian\":{hessian}}}").into_bytes()
    };
    corpus! {
        recipe_that_nests: recipe([&b"v = "[..], &[b'['; 100_000]].concat()) => ["recipe.toml", "line 1"],
        recipe_of_dots: recipe([&b"a.".repeat(100_000)[..], b"a = 1"].concat()) => ["recipe.toml", "line 1"],
        recipe_of_tables: recipe([&b"["[..], &b"a.".repeat(100_000), b"a]"].concat()) => ["recipe.toml", "line 1"],
        recipe_of_numbers: recipe([&b"v = ["[..], &b"0,".repeat(130_000), b"]"].concat()) => ["recipe.toml", "unknown field `v`"],
        recipe_of_keys: recipe((0..26_000).map(|at| format!("k{at}=0\n")).collect::<String>().into()) => ["recipe.toml"],
        recipe_that_unsets_much: recipe([&b"extends = \"deit\"\nunset = ["[..], &b"\"eps\",".repeat(43_000), b"\"x\"]"].concat()) =>
            ["recipe.toml", "a key that recipes have", "found x"],
        recipe_too_large: recipe(vec![b'#'; (1 << 18) + 1]) => ["recipe.toml", "at most 262144 bytes", "262145"],
        recipe_of_itself: recipe(b"extends = \"recipe.toml\"".into()) => ["recipe.toml", "at most 8 extensions"],
        recipe_not_in_utf8: recipe(b"epochs = \"\xff\"".into()) => ["recipe.toml", "UTF-8"],
        recipe_of_nan: recipe(b"weight_decay = nan".into()) => ["weight_decay", "NaN"],
        plan_of_text: plan(b"prune it all".into()) => ["plan", "expected a plan in JSON", "line 1 column 1"],
        plan_that_nests: plan(vec![b'['; 100_000]) => ["plan", "a plan in JSON"],
        plan_of_unknown_units: plan(planned("{\"kind\":\"heads\",\"keep\":[[0,9]]}")) =>
            ["plan step 0, heads[0]", "expected indices below 2, found 9"],
        plan_out_of_order: plan(planned("{\"kind\":\"hidden\",\"keep\":[[1,0]]}")) =>
            ["plan step 0, hidden[0]", "ascending indices", "1 before 0"],
        plan_of_nothing: plan(planned("{\"kind\":\"embed\",\"keep\":[]}")) => ["plan step 0, embed[0]", "at least 1 embedding channel"],
        plan_of_other_blocks: plan(planned("{\"kind\":\"heads\",\"keep\":[[0],[0]]}")) => ["plan step 0", "1 index lists", "found 2"],
        plan_that_unfolds: plan(planned(&format!("{{\"keep\":[[{}0]],\"kind\":\"x\"}}", "0,".repeat(4 << 20)))) => ["plan", "bytes"],
        calibration_of_other_units: calibration(scores("[1]")) => ["savit scores", "expected", "found"],
        calibration_of_infinity: calibration(scores("[1,1e999]")) => ["calibration", "number out of range"],
        calibration_that_unfolds: calibration([&b"{\"model\":{\"stem\":{\"x\":["[..], &b"0,".repeat(8 << 20), b"0]}}}"].concat()) =>
            ["calibration", "bytes"],
    }
}

/// Pictures.
fn images() -> Vec<Hostile> {
    corpus! {
        image_of_nothing: picture(Vec::new()) => ["image", "the file is empty"],
        image_of_text: picture(b"a cat\n".into()) => ["neither JPEG nor PNG: it is text"],
        image_of_another_format: picture(b"GIF89a".into()) => ["it is a GIF"],
        png_of_a_headers_size: picture(png([65_535, 4_096], &[])) => ["65535 x 4096 pixels", "bytes"],
        png_of_too_many_pixels: picture(png([65_535, 65_535], &[])) => ["65535 x 65535 pixels"],
        png_of_zeros_packed: picture(png([12_000, 12_000], &vec![0; 12_000 * 12_001])) => ["12000 x 12000 pixels", "bytes"],
        // What is not unpacked does no harm.
        png_with_a_profile_packed: picture(png_with(b"iCCP", &[b"p\0\0", &zlib(&vec![0; 128 << 20])[..]].concat())) => [],
        png_with_a_text_packed: picture(png_with(b"zTXt", &[b"p\0\0", &zlib(&vec![0; 128 << 20])[..]].concat())) => [],
        png_of_half_a_colour: picture(png_with(b"PLTE", &[1, 2, 3, 4])) => ["damaged PNG", "palette"],
        jpeg_of_a_headers_size: picture(jpeg([65_535, 4_096], 1)) => ["65535 x 4096 pixels", "bytes"],
        jpeg_of_many_scans: picture(jpeg([2_000, 2_000], 10_000)) => ["damaged JPEG"],
        jpeg_without_end: picture(jpeg([8, 8], 1)[..60].into()) => ["JPEG"],
    }
}

/// Journals and images in CIFAR's form.
fn others() -> Vec<Hostile> {
    corpus! {
        journal_with_a_broken_line: journal(b"{}\n{\"loss\":\n{}\n".into()) => ["log.jsonl line 2", "a JSON value"],
        journal_that_nests: journal([&[b'['; 100_000][..], b"\n"].concat()) => ["log.jsonl line 1", "recursion limit"],
        cifar_cut: cifar(vec![1; 3072]) => ["test_batch.bin", "whole records of 3073 bytes", "3072 bytes"],
        cifar_of_an_unknown_class: cifar(vec![200; 3073]) => ["label of image 0", "below 10", "200"],
        cifar_of_nine_names: cifar(b"a\nb\nc\nd\ne\nf\ng\nh\ni\n".into()) => ["batches.meta.txt", "10 class names", "found 9"],
    }
}

/// Those without words are read: what they hold is harmless once it is not unpacked.
pub fn every_file_is_refused_as_it_should_be() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Relaxed);
        usual(info);
    }));
    let (files, mut wrong, mut most) = (corpus(), Vec::new(), 0.0f64);
    for Hostile { name, reader, bytes, words } in &files {
        let (mut said, folder) = (None, tempfile::tempdir().expect("a folder"));
        let began = std::time::Instant::now();
        let judged = watch::judge(
            |bytes| {
                reader(folder.path(), bytes).inspect_err(|error| {
                    said = Some(error.to_string());
                })
            },
            bytes,
        );
        let seconds = began.elapsed().as_secs_f64();
        if seconds > 1.0 {
            println!("  {name}: {seconds:.1} s");
        }
        match (judged, said) {
            (Err(what), said) => wrong.push(format!("{name}: {what} ({said:?})")),
            (Ok((_, share)), None) if words.is_empty() => most = most.max(share),
            (Ok(_), None) => wrong.push(format!("{name}: it was read")),
            (Ok((_, share)), Some(said)) => {
                most = most.max(share);
                let missing: Vec<&&str> = words.iter().filter(|word| !said.contains(**word)).collect();
                let short = said.chars().take(300).collect::<String>();
                if !missing.is_empty() || words.is_empty() {
                    wrong.push(format!("{name}: no {missing:?} in {short:?}"));
                } else if said.len() > 1000 || said.contains('\n') {
                    wrong.push(format!("{name}: too long a message: {short:?}"));
                }
            }
        }
    }
    let panics = PANICS.load(Relaxed);
    println!("  {} files; at most {:.0} % of the memory allowed", files.len(), 100.0 * most);
    assert!(wrong.is_empty() && panics == 0, "{panics} panics, {} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The program given some of the files: one line, exit code 1, no panic, and the name of the file.
pub fn the_program_refuses_in_one_line() {
    let (folder, files) = (tempfile::tempdir().expect("a folder"), corpus());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let model = Model::init(Architecture::deit(8, 4, 8, 1, 2).with_classes(3), 1).expect("a model");
    model.save(path("good"), "dense").expect("saved");
    let commands: [(&str, &[&str]); 13] = [
        ("pickle_of_values_deflated", &["inspect", "FILE"]),
        ("pickle_that_runs_a_program", &["inspect", "FILE"]),
        ("pickle_of_marks", &["classify", "--weights", "FILE", "IMAGE"]),
        ("zip_bomb", &["bench", "--weights", "FILE"]),
        ("a_web_page", &["inspect", "FILE"]),
        ("header_of_members", &["inspect", "FILE"]),
        ("tensor_of_infinity", &["classify", "--weights", "FILE", "IMAGE"]),
        ("model_that_unfolds", &["classify", "--weights", "FILE", "IMAGE"]),
        ("png_of_half_a_colour", &["classify", "--weights", "GOOD", "FILE"]),
        ("png_of_zeros_packed", &["classify", "--weights", "GOOD", "FILE"]),
        ("jpeg_of_a_headers_size", &["classify", "--weights", "GOOD", "FILE"]),
        ("recipe_that_nests", &["train", "FILE", "--out", "OUT"]),
        ("recipe_of_dots", &["train", "FILE", "--out", "OUT"]),
    ];
    for (name, arguments) in commands {
        let hostile = files.iter().find(|file| file.name == name).unwrap_or_else(|| panic!("no {name}"));
        std::fs::write(path(name), &hostile.bytes).expect("written");
        let argument = |word: &&str| match *word {
            "FILE" => path(name),
            "IMAGE" => concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images/grey.jpg").into(),
            "GOOD" => path("good"),
            "OUT" => path("out"),
            word => word.into(),
        };
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_espalier"));
        let output = program.args(arguments.iter().map(argument)).output().expect("the program");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        let one_line = said.starts_with("error: ") && said.lines().count() == 1 && said.len() < 1500;
        assert!(one_line && !said.contains("panicked"), "{name}: {said}");
        assert!(said.contains(name), "{name} is not named: {said}");
    }
    assert!(!folder.path().join("out").exists(), "a run was begun");
}
