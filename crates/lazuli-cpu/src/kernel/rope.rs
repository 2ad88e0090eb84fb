//! Rotary position embedding: pairs of a head's elements turned by angles from tables (Su et al., 2021).

use std::ops::Range;

pub use lazuli_core::fused::RopeStyle;

use crate::simd::{Level, Simd, stamp};

/// Rotates `x [tokens, heads, head_dim]`; elements from `rot_dim` on are copied.
#[derive(Debug, Clone, Copy)]
pub struct Rope {
    /// The vector level.
    pub level: Level,
    /// Which elements form a pair.
    pub style: RopeStyle,
    /// Heads of a token.
    pub heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// How many of them turn: even, at most `head_dim`.
    pub rot_dim: usize,
    /// Elements from one token's heads to the next token's, in the input.
    pub x_stride: usize,
}

impl Rope {
    /// Rotates the heads `units` (token-major: `token * heads + head`) of `x` (f32, tokens `x_stride` apart) into `out`
    /// (f32, contiguous; may be `x` if that is dense). `cos` and `sin` are f32 `[tokens, rot_dim / 2]`.
    ///
    /// # Safety
    /// The pointers must be valid for these heads, and nobody else may write the input or touch the output heads.
    pub unsafe fn run(
        &self,
        units: Range<usize>,
        x: *const f32,
        cos: *const f32,
        sin: *const f32,
        out: *mut f32,
    ) {
        let half = self.rot_dim / 2;
        for unit in units {
            let (token, head) = (unit / self.heads, unit % self.heads);
            // SAFETY: the caller's promise.
            unsafe {
                let x = x.add(token * self.x_stride + head * self.head_dim);
                let out = out.add(unit * self.head_dim);
                let (cos, sin) = (cos.add(token * half), sin.add(token * half));
                match self.style {
                    RopeStyle::Halves => halves(self.level, half, x, cos, sin, out),
                    RopeStyle::Interleaved => interleaved(half, x, cos, sin, out),
                }
                // `copy` and not `copy_nonoverlapping`: in place the two are the same elements.
                std::ptr::copy(x.add(self.rot_dim), out.add(self.rot_dim), self.head_dim - self.rot_dim);
            }
        }
    }
}

stamp! {
    unsafe fn halves(half: usize, x: *const f32, cos: *const f32, sin: *const f32, out: *mut f32) = halves_head;
}

#[inline(always)]
unsafe fn halves_head<S: Simd>(
    s: S,
    half: usize,
    x: *const f32,
    cos: *const f32,
    sin: *const f32,
    out: *mut f32,
) {
    let mut i = 0;
    // SAFETY: all accesses are below `half` in each half and table.
    unsafe {
        while i + S::LANES <= half {
            let (a, b) = (s.load(x.add(i)), s.load(x.add(half + i)));
            let (c, d) = (s.load(cos.add(i)), s.load(sin.add(i)));
            s.store(out.add(i), s.fnma(b, d, s.mul(a, c)));
            s.store(out.add(half + i), s.fma(a, d, s.mul(b, c)));
            i += S::LANES;
        }
        if i < half {
            let n = half - i;
            let (a, b) = (s.load_partial(x.add(i), n), s.load_partial(x.add(half + i), n));
            let (c, d) = (s.load_partial(cos.add(i), n), s.load_partial(sin.add(i), n));
            s.store_partial(out.add(i), n, s.fnma(b, d, s.mul(a, c)));
            s.store_partial(out.add(half + i), n, s.fma(a, d, s.mul(b, c)));
        }
    }
}

/// The compiler vectorises this well enough for what it is: a few hundred elements a token.
unsafe fn interleaved(half: usize, x: *const f32, cos: *const f32, sin: *const f32, out: *mut f32) {
    for i in 0..half {
        // SAFETY: all accesses are below `half` pairs.
        unsafe {
            let (a, b) = (*x.add(2 * i), *x.add(2 * i + 1));
            let (c, d) = (*cos.add(i), *sin.add(i));
            *out.add(2 * i) = a * c - b * d;
            *out.add(2 * i + 1) = a * d + b * c;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Random, assert_close, levels};
    use super::*;

    #[test]
    fn pairs_turn_and_the_rest_stays() {
        let (tokens, heads) = (3, 2);
        for (head_dim, rot_dim) in [(8, 8), (24, 24), (64, 64), (80, 32), (128, 128), (10, 6)] {
            let mut random = Random::new(head_dim as u64);
            let x_stride = heads * head_dim + 5;
            let x = random.floats(tokens * x_stride);
            let angles: Vec<f32> = random.floats(tokens * rot_dim / 2).iter().map(|v| v * 7.0).collect();
            let cos: Vec<f32> = angles.iter().map(|a| a.cos()).collect();
            let sin: Vec<f32> = angles.iter().map(|a| a.sin()).collect();
            for style in [RopeStyle::Halves, RopeStyle::Interleaved] {
                let mut dense = Vec::new();
                let mut want = Vec::new();
                for (t, h) in (0..tokens).flat_map(|t| (0..heads).map(move |h| (t, h))) {
                    let head = &x[t * x_stride + h * head_dim..][..head_dim];
                    dense.extend_from_slice(head);
                    let mut turned: Vec<f64> = head.iter().map(|&v| f64::from(v)).collect();
                    for i in 0..rot_dim / 2 {
                        let (p, q) = match style {
                            RopeStyle::Halves => (i, i + rot_dim / 2),
                            RopeStyle::Interleaved => (2 * i, 2 * i + 1),
                        };
                        let at = t * rot_dim / 2 + i;
                        let (c, d) = (f64::from(cos[at]), f64::from(sin[at]));
                        let (a, b) = (f64::from(head[p]), f64::from(head[q]));
                        (turned[p], turned[q]) = (a * c - b * d, a * d + b * c);
                    }
                    want.extend(turned);
                }
                for level in levels() {
                    let what = format!("{level} {style:?} {head_dim}");
                    let mut rope = Rope { level, style, heads, head_dim, rot_dim, x_stride };
                    let mut out = vec![0.0; dense.len()];
                    // SAFETY: all tokens and heads are there.
                    unsafe {
                        rope.run(0..tokens * heads, x.as_ptr(), cos.as_ptr(), sin.as_ptr(), out.as_mut_ptr());
                    };
                    assert_close(&what, &out, &want, 1e-6);
                    rope.x_stride = heads * head_dim;
                    let mut place = dense.clone();
                    let (from, to) = (place.as_ptr(), place.as_mut_ptr());
                    // SAFETY: as above, in place.
                    unsafe { rope.run(0..tokens * heads, from, cos.as_ptr(), sin.as_ptr(), to) };
                    assert_eq!(place, out, "{what} in place");
                }
            }
        }
    }
}
