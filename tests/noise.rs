//! Random draws: published vectors, addresses, moments, permutations, recordings.

use espalier::noise::{Noise, Philox, Recorded, fnv1a64, philox4x32};

#[test]
fn philox_matches_the_published_vectors() {
    // kat_vectors of Random123, lines "philox4x32 10".
    let ones = u32::MAX;
    assert_eq!(philox4x32([0; 2], [0; 4]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    assert_eq!(philox4x32([ones; 2], [ones; 4]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    let pi = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
    assert_eq!(philox4x32([0xa4093822, 0x299f31d0], pi), [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
    assert_eq!((fnv1a64(""), fnv1a64("foobar")), (0xcbf29ce484222325, 0x85944171f73967e8));
}

#[test]
fn draws_differ_in_every_part_of_their_address_and_in_nothing_else() {
    let first = |seed, step, site: &str, sample| Philox { seed, step }.stream(site, sample).next_u64();
    let base = first(1, 2, "a", 3);
    assert_eq!(base, first(1, 2, "a", 3));
    for other in [first(2, 2, "a", 3), first(1, 3, "a", 3), first(1, 2, "b", 3), first(1, 2, "a", 4)] {
        assert_ne!(base, other);
    }
    let wide = 1u64 << 40;
    assert_ne!(first(1, 2, "a", 3), first(1, 2 + wide, "a", 3));
    assert_ne!(first(1, 2, "a", 3), first(1, 2, "a", 3 + wide));
}

#[test]
fn uniforms_and_normals_have_their_moments() {
    let noise = Philox { seed: 7, step: 0 };
    let mut values = vec![0.0f32; 200_001];
    let moments = |v: &[f32]| {
        let mean = v.iter().map(|&x| f64::from(x)).sum::<f64>() / v.len() as f64;
        (mean, v.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / v.len() as f64)
    };
    noise.uniform("u", 0, &mut values).unwrap();
    assert!(values.iter().all(|&u| (0.0..1.0).contains(&u)));
    let (mean, variance) = moments(&values);
    assert!((mean - 0.5).abs() < 0.005 && (variance - 1.0 / 12.0).abs() < 0.002, "{mean} {variance}");
    noise.normal("n", 0, &mut values).unwrap();
    let (mean, variance) = moments(&values);
    assert!((mean).abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    assert_eq!(values[0], noise.stream("n", 0).normal());
}

#[test]
fn permutations_are_permutations_and_cover_all_orders() {
    let mut seen = std::collections::HashSet::new();
    for step in 0..200 {
        let order = Philox { seed: 1, step }.permutation("shuffle", 4);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3]);
        seen.insert(order);
    }
    assert_eq!(seen.len(), 24);
    assert_eq!(Philox { seed: 1, step: 0 }.permutation("shuffle", 0), Vec::<usize>::new());
    assert_eq!(Philox { seed: 1, step: 0 }.stream("a", 0).below(0), 0);
}

#[test]
fn recorded_draws_are_returned_or_refused() {
    let mut recorded = Recorded::default();
    recorded.insert("gate", 2, vec![0.25, 0.5]);
    let mut out = [0.0; 2];
    recorded.normal("gate", 2, &mut out).unwrap();
    assert_eq!(out, [0.25, 0.5]);
    assert!(recorded.uniform("gate", 3, &mut out).is_err());
    assert!(recorded.uniform("other", 2, &mut out).is_err());
    assert!(recorded.uniform("gate", 2, &mut out[..1]).is_err());
}
