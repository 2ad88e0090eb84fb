//! Views, copies, reductions, lookups, joins, and writes into the KV pool.

use lazuli_core::quant::Format;
use lazuli_core::{Array, DType};

use super::Table;

pub(super) fn add(table: &mut Table) {
    views(table);
    reductions(table);
    lookups(table);
}

fn views(table: &mut Table) {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        table.case(format!("transposed copy {dtype}"), 0.0, move |r| {
            r.floats([5, 6, 7], dtype).transpose(&[2, 0, 1]).contiguous()
        });
    }
    table.case("slices of slices", 0.0, |r| {
        let x = r.floats([8, 9, 10], DType::F32);
        (x.slice(0, 2..7).slice(2, 1..9).slice(1, 3..4) + 0.0).reshape([5, 8])
    });
    table.case("reshape that copies", 0.0, |r| r.floats([4, 6], DType::F32).t().reshape([3, 8]));
    table.case("broadcast copy", 0.0, |r| {
        r.floats([3, 1, 2], DType::F32).broadcast_to([4, 3, 5, 2]).contiguous()
    });
    for axis in [0, 1, 2] {
        table.case(format!("join along {axis}"), 4e-6, move |r| {
            let whole = r.floats([4, 5, 6], DType::F32);
            let parts =
                [whole.clone(), whole.transpose(&[0, 1, 2]).exp().minimum(9.0), whole.slice(axis, 1..3)];
            Array::concat(&[&parts[0], &parts[1], &parts[2]], axis)
        });
    }
    table.case("a view of a view of a result", 1e-5, |r| {
        let x = r.floats([6, 8], DType::F32).tanh();
        x.reshape([6, 2, 4]).transpose(&[1, 0, 2]).slice(0, 1..2).reshape([6, 4]) * x.slice(1, 0..4)
    });
}

fn reductions(table: &mut Table) {
    type Function = fn(&Array, isize) -> Array;
    let all: [(&str, Function); 7] = [
        ("sum", Array::sum),
        ("mean", Array::mean),
        ("max", Array::max),
        ("min", Array::min),
        ("prod", |x, axis| (x * 0.1 + 1.0).prod(axis)),
        ("argmax", Array::argmax),
        ("argmin", Array::argmin),
    ];
    for (name, function) in all {
        for axis in [0, 1, -1] {
            table.case(format!("{name} of axis {axis}"), 1e-5, move |r| {
                function(&r.floats([5, 9, 70], DType::F32), axis)
            });
        }
        table.case(format!("{name} of halves"), 4e-3, move |r| {
            function(&(r.floats([5, 9], DType::F16) * 0.1), -1)
        });
    }
    table.case("sum of integers", 0.0, |r| r.indices([6, 50], 1000).sum(1));
    table.case("sum of a transposed view", 1e-5, |r| r.floats([30, 40], DType::F32).t().sum(0));
}

fn lookups(table: &mut Table) {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        table.case(format!("rows {dtype}"), 0.0, move |r| {
            let ids = r.indices([2, 7], 11);
            r.floats([11, 24], dtype).gather(&ids)
        });
    }
    table.case("rows of a slice", 0.0, |r| {
        let ids = r.indices([5], 4);
        r.floats([11, 24], DType::F32).slice(0, 3..7).gather(&ids)
    });
    for format in [Format::Q8_0, Format::Q4_1, Format::Q4K, Format::Q6K] {
        table.case(format!("rows {format:?}"), 1e-6, move |r| {
            let ids = r.indices([9], 13);
            r.packed(13, 512, format).gather(&ids)
        });
        table.case(format!("rows of a slice {format:?}"), 1e-6, move |r| {
            let ids = r.indices([9], 5);
            r.packed(13, 256, format).slice(0, 6..11).gather(&ids)
        });
        table.case(format!("decoded {format:?}"), 1e-6, move |r| r.packed(5, 256, format).cast(DType::F32));
        table.case(format!("decoded and turned {format:?}"), 4e-3, move |r| {
            r.packed(5, 256, format).t().cast(DType::F16)
        });
    }
    for dtype in [DType::F32, DType::F16] {
        table.case(format!("kv write {dtype}"), 0.0, move |r| {
            let pool = r.floats([3, 2, 4, 8], dtype);
            let rows = r.floats([5, 2, 8], DType::F32);
            pool.kv_write(&rows, &Array::from_slice(&[11, -1, 0, 6, 3], [5]))
        });
    }
    table.case("kv write of a strided view", 0.0, |r| {
        let pool = r.floats([2, 2, 4, 8], DType::F16);
        let rows = r.floats([3, 6, 8], DType::F32).slice(1, 2..4);
        pool.kv_write(&rows, &Array::from_slice(&[7, 1, 2], [3]))
    });
    table.case("kv write into pages that lie apart", 0.0, |r| {
        let pool = r.floats([3, 5, 4, 8], DType::F16).slice(1, 0..2);
        let rows = r.floats([3, 2, 8], DType::F32);
        let once = pool.kv_write(&rows, &Array::from_slice(&[7, 1, 10], [3]));
        let part = once.slice(3, 2..7).cast(DType::F32);
        let twice = once.kv_write(&(&rows * 2.0), &Array::from_slice(&[8, -1, 0], [3]));
        Array::concat(&[&part, &twice.cast(DType::F32)], -1)
    });
}
