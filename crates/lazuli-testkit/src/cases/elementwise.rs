//! Functions, arithmetic, comparisons, chains, broadcasts, casts.

use lazuli_core::{Array, DType};

use super::Table;

const FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

pub(super) fn add(table: &mut Table) {
    functions(table);
    arithmetic(table);
    chains(table);
    integers(table);
}

fn rounding(dtype: DType) -> f32 {
    match dtype {
        DType::F16 => 1e-3,
        DType::BF16 => 8e-3,
        _ => 2e-6,
    }
}

fn functions(table: &mut Table) {
    type Function = fn(&Array) -> Array;
    let all: [(&str, Function); 16] = [
        ("neg", |x| -x),
        ("abs", Array::abs),
        ("exp", |x| x.minimum(4.0).exp()),
        ("log", |x| (x.abs() + 0.1).log()),
        ("sqrt", |x| x.abs().sqrt()),
        ("rsqrt", |x| (x.abs() + 0.1).rsqrt()),
        ("recip", |x| (x.abs() + 0.1).recip()),
        ("sin", Array::sin),
        ("cos", Array::cos),
        ("tanh", Array::tanh),
        ("erf", Array::erf),
        ("floor", Array::floor),
        ("round", Array::round),
        ("sigmoid", Array::sigmoid),
        ("silu", Array::silu),
        ("gelu_tanh", Array::gelu_tanh),
    ];
    for (name, function) in all {
        for len in [1, 7, 16, 517] {
            table.case(format!("{name} f32 [{len}]"), 4e-6, move |r| function(&r.floats([len], DType::F32)));
        }
        for dtype in [DType::F16, DType::BF16] {
            // One operation alone rounds once on both sides; a chain of them may round in between.
            let tolerance = 3.0 * rounding(dtype);
            table.case(format!("{name} {dtype}"), tolerance, move |r| function(&r.floats([3, 33], dtype)));
        }
    }
    table.case("gelu", 4e-6, |r| r.floats([1000], DType::F32).gelu());
    table.case("angles of far positions", 2e-6, |r| {
        let positions = Array::from_vec((0..40).map(|i| i * 3277).collect::<Vec<i32>>(), [40, 1]);
        let frequencies = r.floats([1, 24], DType::F32).abs();
        (positions.cast(DType::F32) * frequencies).cos()
    });
}

fn arithmetic(table: &mut Table) {
    type Function = fn(&Array, &Array) -> Array;
    let all: [(&str, Function); 12] = [
        ("add", |a, b| a + b),
        ("sub", |a, b| a - b),
        ("mul", |a, b| a * b),
        ("div", |a, b| a / (b.abs() + 0.5)),
        ("max", |a, b| a.maximum(b)),
        ("min", |a, b| a.minimum(b)),
        ("pow", |a, b| (a.abs() + 0.1).minimum(3.0).pow(b.minimum(3.0).maximum(-3.0))),
        ("rem", |a, b| a.rem(b.abs() + 0.5)),
        ("equals", |a, b| a.round().equals(b.round())),
        ("less", |a, b| a.less(b)),
        ("less_equal", |a, b| a.round().less_equal(b.round())),
        ("not_equals", |a, b| a.round().not_equals(b.round())),
    ];
    let shapes: [(&[usize], &[usize]); 7] = [
        (&[5, 37], &[5, 37]),
        (&[5, 37], &[37]),
        (&[5, 37], &[5, 1]),
        (&[5, 37], &[]),
        (&[2, 1, 9], &[1, 4, 9]),
        (&[2, 3, 1], &[7]),
        (&[1], &[600]),
    ];
    for (name, function) in all {
        for (left, right) in shapes {
            let (left, right) = (left.to_vec(), right.to_vec());
            table.case(format!("{name} {left:?} {right:?}"), 4e-6, move |r| {
                let a = r.floats(left.clone(), DType::F32);
                let b = r.floats(right.clone(), DType::F32);
                function(&a, &b)
            });
        }
    }
    for a in FLOATS {
        for b in FLOATS {
            let tolerance = rounding(a).max(rounding(b));
            table.case(format!("add {a} {b}"), tolerance, move |r| {
                r.floats([9, 31], a) + r.floats([9, 31], b)
            });
        }
    }
}

fn chains(table: &mut Table) {
    table.case("a long chain", 1e-5, |r| {
        let (a, b) = (r.floats([17, 65], DType::F32), r.floats([65], DType::F32));
        let mut x = a.clone();
        for _ in 0..20 {
            x = (x * 0.5 + &b).tanh() - &a * 0.25;
        }
        x
    });
    table.case("a chain read twice", 1e-5, |r| {
        let x = r.floats([40, 40], DType::F32).tanh();
        (&x + 1.0) * (&x - 1.0) + x.sum(-1).expand_dims(-1)
    });
    table.case("a chain over transposed inputs", 1e-5, |r| {
        let (a, b) = (r.floats([19, 23], DType::F32), r.floats([23, 19], DType::F32));
        (a.t() + &b).tanh() * a.t()
    });
    table.case("select and booleans", 1e-6, |r| {
        let (a, b) = (r.floats([11, 13], DType::F32), r.floats([13], DType::F32));
        let both = a.less(&b).and(b.less(0.5));
        both.or(a.less(-1.0)).select(&a * 2.0, &b)
    });
    table.case("halves stay halves", 1e-3, |r| (r.floats([33], DType::F16) * 2.0 + 0.5).tanh());
}

fn integers(table: &mut Table) {
    table.case("integer arithmetic", 0.0, |r| {
        let (a, b) = (r.indices([6, 7], 1 << 30), r.indices([7], 100));
        (&a + &b) * 3 - a.rem(&b + 1)
    });
    table.case("integer comparison", 0.0, |r| r.indices([50], 10).less_equal(r.indices([50], 10)));
    table.case("integer select", 0.0, |r| {
        let (a, b) = (r.indices([50], 10), r.indices([50], 10));
        a.less(&b).select(&a, &b)
    });
    table.case("float to integer", 0.0, |r| (r.floats([50], DType::F32) * 10.0).cast(DType::I32));
    table.case("integer to float", 0.0, |r| r.indices([50], 1 << 20).cast(DType::F32));
    table.case("float to bool", 0.0, |r| r.floats([50], DType::F32).floor().cast(DType::Bool));
    table.case("counting", 0.0, |_| Array::iota(1000) * 7);
    for dtype in FLOATS {
        for to in FLOATS {
            table.case(format!("{dtype} to {to}"), 0.0, move |r| r.floats([77], dtype).cast(to));
        }
    }
}
