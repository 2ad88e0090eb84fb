//! The register tile of attention: numbers broadcast against vectors of rows.

use crate::simd::{Simd, array};

/// A matrix of single numbers: `[i, k]` lies at `at + i * row + k * step`.
pub(in crate::kernel) struct Numbers {
    pub at: *const f32,
    pub row: usize,
    pub step: usize,
}

/// `out [n, rows] (* factor) += numbers [n, depth] . vectors [depth, rows]`; without factors `out` is overwritten. Rows of
/// `out` are `out_row` apart.
/// Where `n` is not whole register tiles, up to 7 more rows of numbers may be read and of `out` be written.
#[inline(always)]
pub(in crate::kernel) unsafe fn product<S: Simd>(
    s: S,
    numbers: &Numbers,
    (n, depth): (usize, usize),
    (vectors, rows): (*const f32, usize),
    (out, out_row): (*mut f32, usize),
    factor: Option<*const f32>,
) {
    // SAFETY: the caller's promise. 16 registers carry 6 x 2 sums, 32 carry 8 x 3.
    unsafe {
        if S::LANES == 8 {
            tiles::<S, 6, 2>(s, numbers, (n, depth), (vectors, rows), (out, out_row), factor);
        } else {
            tiles::<S, 8, 3>(s, numbers, (n, depth), (vectors, rows), (out, out_row), factor);
        }
    }
}

#[inline(always)]
unsafe fn tiles<S: Simd, const M: usize, const N: usize>(
    s: S,
    numbers: &Numbers,
    (n, depth): (usize, usize),
    (vectors, rows): (*const f32, usize),
    (out, out_row): (*mut f32, usize),
    factor: Option<*const f32>,
) {
    for i in (0..n).step_by(M) {
        let mut r = 0;
        // SAFETY: the caller's promise; `rows` is a whole number of vectors.
        unsafe {
            while r + N * S::LANES <= rows {
                tile::<S, M, N>(
                    s,
                    numbers,
                    i,
                    depth,
                    (vectors.add(r), rows),
                    (out.add(r), out_row),
                    factor.map(|f| f.add(r)),
                );
                r += N * S::LANES;
            }
            if N == 3 && r + 2 * S::LANES <= rows {
                tile::<S, M, 2>(
                    s,
                    numbers,
                    i,
                    depth,
                    (vectors.add(r), rows),
                    (out.add(r), out_row),
                    factor.map(|f| f.add(r)),
                );
                r += 2 * S::LANES;
            }
            while r < rows {
                tile::<S, M, 1>(
                    s,
                    numbers,
                    i,
                    depth,
                    (vectors.add(r), rows),
                    (out.add(r), out_row),
                    factor.map(|f| f.add(r)),
                );
                r += S::LANES;
            }
        }
    }
}

#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize>(
    s: S,
    numbers: &Numbers,
    i: usize,
    depth: usize,
    (vectors, rows): (*const f32, usize),
    (out, out_row): (*mut f32, usize),
    factor: Option<*const f32>,
) {
    let mut sums = [[s.zero(); N]; M];
    // SAFETY: the caller's promise.
    unsafe {
        let out = out.add(i * out_row);
        if let Some(factor) = factor {
            let factors = array!(n in N, s.zero(), s.load(factor.add(n * S::LANES)));
            for (m, sums) in sums.iter_mut().enumerate() {
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = s.mul(s.load(out.add(m * out_row + n * S::LANES)), factors[n]);
                }
            }
        }
        let numbers_at = array!(m in M, numbers.at, numbers.at.add((i + m) * numbers.row));
        let mut vector = vectors;
        let mut at = 0;
        for _ in 0..depth {
            let v = array!(n in N, s.zero(), s.load(vector.add(n * S::LANES)));
            for m in 0..M {
                let number = s.splat(*numbers_at[m].add(at));
                for n in 0..N {
                    sums[m][n] = s.fma(number, v[n], sums[m][n]);
                }
            }
            vector = vector.add(rows);
            at += numbers.step;
        }
        for (m, sums) in sums.iter().enumerate() {
            for (n, &sum) in sums.iter().enumerate() {
                s.store(out.add(m * out_row + n * S::LANES), sum);
            }
        }
    }
}
