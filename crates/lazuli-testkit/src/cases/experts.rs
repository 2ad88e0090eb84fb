//! Experts: which rows go where is data, weights lie in one array, in a stack, along or across.

use lazuli_core::fused::{ExpertChoice, GroupRank};
use lazuli_core::quant::{Format, ScaleType};
use lazuli_core::{Array, DType};

use super::Table;
use crate::Random;

/// Tokens, chosen experts, experts, k, n.
const SIZES: [[usize; 5]; 5] =
    [[1, 3, 5, 64, 50], [3, 2, 4, 256, 33], [4, 2, 2, 64, 100], [30, 3, 7, 96, 70], [70, 2, 3, 32, 130]];

pub(super) fn add(table: &mut Table) {
    for [tokens, chosen, experts, k, n] in SIZES {
        let name = format!("{tokens}x{chosen} of {experts} experts {n}x{k}");
        for weight in [DType::F32, DType::BF16] {
            table.case(format!("{name} {weight}"), 2e-5, move |r| {
                let x = r.floats([tokens, k], DType::F32);
                let w = r.floats([experts, n, k], weight);
                x.expert_matmul(&w, &r.indices([tokens, chosen], experts))
            });
        }
        table.case(format!("{name} across"), 2e-5, move |r| {
            let x = r.floats([tokens, chosen, k], DType::F32);
            let w = r.floats([experts, k, n], DType::F16).transpose(&[0, 2, 1]);
            x.expert_matmul(&w, &r.indices([tokens, chosen], experts))
        });
        for format in [Format::Q8_0, Format::Q4_0] {
            table.packed(format!("{name} {format:?}"), 2e-5, move |r| {
                let x = r.floats([tokens, k], DType::F32).tanh();
                let w = r.packed(experts * n, k, format).reshape([experts, n, k]);
                x.expert_matmul(&w, &r.indices([tokens, chosen], experts))
            });
            table.packed(format!("{name} {format:?}, a row for each"), 2e-5, move |r| {
                let x = r.floats([tokens, chosen, k], DType::F32).tanh();
                let members: Vec<Array> = (0..experts).map(|_| r.packed(n, k, format)).collect();
                let w = Array::stack(&members).expect("equal members");
                x.expert_matmul(&w, &r.indices([tokens, chosen], experts))
            });
        }
    }
    formats(table);
    views(table);
    routers(table);
}

fn formats(table: &mut Table) {
    let planar = [
        Format::Q6K,
        Format::Affine { bits: 4, group: 64, scale: ScaleType::Bf16 },
        Format::Affine { bits: 5, group: 32, scale: ScaleType::F16 },
        Format::Mxfp4,
        Format::Fp8Block { rows: 32, cols: 32 },
    ];
    for format in planar {
        for tokens in [1, 9] {
            table.packed(format!("experts {format:?} {tokens}"), 2e-5, move |r| {
                let x = r.floats([tokens, 256], DType::F32).tanh();
                let w = r.packed(4 * 64, 256, format).reshape([4, 64, 256]);
                x.expert_matmul(&w, &r.indices([tokens, 2], 4))
            });
        }
        // The rows of each head that come after others, and those others turned round: as latent attention has them.
        table.packed(format!("heads of {format:?} along"), 2e-5, move |r| {
            let x = r.floats([5, 3, 256], DType::F32).tanh();
            let w = r.packed(3 * 96, 256, format).reshape([3, 96, 256]).slice(1, 32..96);
            x.expert_matmul(&w, &Array::iota(3).broadcast_to([5, 3]))
        });
        table.packed(format!("heads of {format:?} across"), 2e-5, move |r| {
            let x = r.floats([5, 3, 32], DType::F32).tanh();
            let w = r.packed(3 * 96, 256, format).reshape([3, 96, 256]).slice(1, 0..32);
            x.expert_matmul(&w.transpose(&[0, 2, 1]), &Array::iota(3).broadcast_to([5, 3]))
        });
    }
}

fn views(table: &mut Table) {
    table.case("heads of bf16 along and across", 2e-5, |r| {
        let q = r.floats([6, 4, 48], DType::F32).slice(-1, 0..32);
        let w = r.floats([4, 56, 40], DType::BF16);
        let heads = Array::iota(4).broadcast_to([6, 4]);
        let inner = q.expert_matmul(&w.slice(1, 0..32).transpose(&[0, 2, 1]), &heads);
        inner.expert_matmul(&w.slice(1, 32..56), &heads)
    });
    table.case("experts with gaps in both axes", 2e-5, |r| {
        let x = r.floats([3, 16], DType::F16);
        let w = r.floats([5, 24, 16, 2], DType::F32).slice(-1, 1..2).reshape([5, 24, 16]);
        x.expert_matmul(&w, &r.indices([3, 2], 5))
    });
    table.case("a stack of floats, gate and up", 2e-5, |r| {
        let x = r.floats([7, 32], DType::F32);
        let mut stack = || {
            let members: Vec<Array> = (0..6).map(|_| r.floats([20, 32], DType::BF16)).collect();
            Array::stack(&members).expect("equal members")
        };
        let (gate, up) = (stack(), stack());
        let ids = r.indices([7, 2], 6);
        x.expert_matmul(&gate, &ids) * x.expert_matmul(&up, &ids)
    });
    table.packed("one token's experts beside a dense product", 2e-5, |r| {
        let x = r.floats([2, 256], DType::F32).tanh();
        let dense = r.packed(40, 256, Format::Q4_0);
        let w = r.packed(6 * 40, 256, Format::Q8_0).reshape([6, 40, 256]);
        let routed = x.expert_matmul(&w, &r.indices([2, 3], 6));
        routed + x.matmul(&dense.t()).expand_dims(1)
    });
    table.packed("more rows than a group takes", 2e-5, |r| {
        let x = r.floats([600, 32], DType::F32).tanh();
        let w = r.packed(2 * 16, 32, Format::Q8_0).reshape([2, 16, 32]);
        x.expert_matmul(&w, &Array::full([600, 1], 1.0, DType::I32))
    });
}

fn routers(table: &mut Table) {
    let scores = |r: &mut Random, shape: [usize; 2]| r.floats(shape, DType::F32);
    for (rows, n, count) in [(1, 4, 2), (5, 64, 8), (3, 7, 7), (2, 256, 1)] {
        table.case(format!("top {count} of {n}"), 0.0, move |r| scores(r, [rows, n]).top_k(count));
    }
    table.case("top of equals", 0.0, |r| r.indices([6, 20], 4).cast(DType::F16).top_k(6));
    table.case("scores of the chosen", 0.0, move |r| {
        let x = scores(r, [6, 40]);
        x.take_along(&x.top_k(5))
    });
    for rank in [GroupRank::Largest, GroupRank::TwoLargest] {
        for (groups, kept, count) in [(8, 4, 8), (4, 1, 3), (1, 1, 6), (4, 4, 5)] {
            let op = ExpertChoice { count, groups, kept, rank };
            table.case(
                format!("choice of {count} in {kept} of {groups} groups by {rank:?}"),
                0.0,
                move |r| scores(r, [9, 32]).expert_choice(op),
            );
        }
    }
}
