//! Matrix products: float weights of each type, packed weights of each format, one row to many.

use lazuli_core::DType;
use lazuli_core::quant::Format;

use super::Table;

/// Formats that products take straight from the file.
const PACKED: [Format; 8] = [
    Format::Q8_0,
    Format::Q4_0,
    Format::Q4_1,
    Format::Q5_0,
    Format::Q5_1,
    Format::Q4K,
    Format::Q5K,
    Format::Q6K,
];

pub(super) fn add(table: &mut Table) {
    for weight in [DType::F32, DType::F16, DType::BF16] {
        for (m, k, n) in [(1, 64, 33), (3, 40, 17), (5, 96, 50), (70, 200, 130), (2, 7, 5)] {
            table.case(format!("{m}x{k} by {weight} {n}x{k}"), 2e-5, move |r| {
                let (x, w) = (r.floats([m, k], DType::F32), r.floats([n, k], weight));
                x.matmul(&w.t())
            });
        }
    }
    for format in PACKED {
        for (m, k, n) in [(1, 256, 33), (2, 512, 48), (9, 768, 50), (65, 256, 100)] {
            table.packed(format!("{m}x{k} by {format:?} {n}x{k}"), 2e-5, move |r| {
                let (x, w) = (r.floats([m, k], DType::F32), r.packed(n, k, format));
                x.matmul(&w.t())
            });
        }
    }
    for format in [Format::Q8_0, Format::Q4_1, Format::Q5_0] {
        table.packed(format!("odd row lengths {format:?}"), 2e-5, move |r| {
            let (x, w) = (r.floats([4, 576], DType::F32), r.packed(40, 576, format));
            x.matmul(&w.t())
        });
    }
    for (m, format) in [(1, Format::Q4K), (3, Format::Q8_0), (9, Format::Q4_1)] {
        // Not `packed`: in no precision may the left side be rounded to few bits.
        table.case(format!("{m} finely rounded rows by {format:?}"), 3e-4, move |r| {
            let (x, w) = (r.floats([m, 512], DType::F32), r.packed(40, 512, format));
            x.matmul_fine(&w.t())
        });
    }
    table.packed("rows of a packed slice", 2e-5, |r| {
        let (x, w) = (r.floats([3, 256], DType::F32), r.packed(60, 256, Format::Q4K));
        x.matmul(&w.slice(0, 20..50).t())
    });
    table.packed("one input for two formats", 2e-5, |r| {
        let x = r.floats([1, 512], DType::F32).tanh();
        let (a, b) = (r.packed(30, 512, Format::Q4K), r.packed(30, 512, Format::Q6K));
        x.matmul(&a.t()) + x.matmul(&b.t())
    });
    table.case("a strided left side", 2e-5, |r| {
        let (x, w) = (r.floats([64, 9], DType::F32), r.floats([20, 64], DType::F32));
        x.t().matmul(&w.t())
    });
    table.case("untransposed weights", 2e-5, |r| {
        let (x, w) = (r.floats([9, 64], DType::F32), r.floats([64, 20], DType::F32));
        x.matmul(&w)
    });
    table.case("batches", 2e-5, |r| {
        let (a, b) = (r.floats([2, 3, 5, 16], DType::F32), r.floats([2, 3, 16, 6], DType::F32));
        a.matmul(&b)
    });
    table.case("batches by one matrix", 2e-5, |r| {
        let (a, b) = (r.floats([2, 3, 16], DType::F32), r.floats([6, 16], DType::F16));
        a.matmul(&b.t())
    });
    table.case("halves on the left", 1e-4, |r| {
        let (a, b) = (r.floats([4, 32], DType::F16), r.floats([6, 32], DType::BF16));
        a.matmul(&b.t())
    });
}
