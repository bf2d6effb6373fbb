//! The cost model against the multiply-accumulates that the kernels really did. One test in its own process: the count
//! is the process's.

use espalier::models::{Architecture, Mixer, Model, cost};
use espalier::{DType, Tensor};

/// DeiTs of odd widths, uneven heads, a bare block, one head, two heads; a Swin; a PiT.
fn architectures() -> Vec<Architecture> {
    let plain = Architecture::deit(32, 8, 36, 3, 3).with_classes(7);
    let mut pruned = Architecture::deit(24, 8, 35, 3, 5).with_classes(10);
    pruned.blocks.iter_mut().for_each(|block| block.hidden = 13);
    pruned.blocks[1].mixer = Mixer::Attention { heads: 2, head_dim: 7 };
    pruned.blocks[2].hidden = 1;
    let mut bare = Architecture::deit(16, 4, 12, 2, 3);
    bare.blocks[0].mixer = Mixer::Attention { heads: 0, head_dim: 4 };
    bare.blocks[1].hidden = 0;
    let swin = Architecture::swin(32, 2, 12, &[2, 2, 1], &[2, 3, 4], 4).with_classes(6);
    let pit = Architecture::pit(18, [4, 2], 3, &[1, 2, 1], &[2, 4, 8]).with_classes(6);
    vec![plain.clone(), Architecture { distilled: true, ..plain }, pruned, bare, swin, pit]
}

#[test]
fn the_count_equals_what_the_kernels_did() {
    for arch in architectures() {
        let model = Model::init(arch.clone(), 1).expect("model");
        for batch in [1usize, 3] {
            let images = Tensor::zeros([batch, 3, arch.img_size, arch.img_size], DType::F32);
            let before = espalier::cpu::macs_done();
            model.predict(&images).expect("forward");
            let done = espalier::cpu::macs_done() - before;
            assert_eq!(done, cost::macs(&arch) * batch as u64, "{arch:?}");
        }
        assert_eq!(model.params().numel() as u64, cost::params(&arch), "{arch:?}");
    }
}
