//! Attention against a naive f64 oracle: prompts, decode, windows, ragged batches, at every level.

use super::super::testing::{Level, Random, assert_close, levels, stored};
use super::super::{Element, IndexError};
use super::{Arrays, Attention, Batch, Shape, Strides};

/// A batch with its pool, and what attention over it should give.
struct Case {
    shape: Shape,
    q: Vec<f32>,
    keys: Vec<u32>,
    values: Vec<u32>,
    sinks: Option<Vec<f32>>,
    page_table: Vec<i32>,
    sequence: Vec<i32>,
    position: Vec<i32>,
    want: Vec<f64>,
}

/// Runs of tokens: `(sequence, first position, tokens)`; sequence -1 is padding.
type Runs<'a> = &'a [(i32, usize, usize)];

/// Heads, KV heads, `dim`, `v_dim`.
type Heads = [usize; 4];

#[derive(Clone, Copy)]
struct Options {
    kv: Element,
    page_size: usize,
    softcap: Option<f32>,
    window: Option<usize>,
    sinks: bool,
}

const PLAIN: Options = Options { kv: Element::F16, page_size: 16, softcap: None, window: None, sinks: false };

impl Case {
    fn new([heads, kv_heads, dim, v_dim]: Heads, runs: Runs<'_>, options: Options) -> Self {
        let Options { kv, page_size, softcap, window, sinks } = options;
        let mut random = Random::new((heads * dim + runs.len()) as u64);
        let sequences = runs.iter().map(|run| run.0 + 1).max().unwrap().max(1) as usize;
        let longest = runs.iter().map(|run| run.1 + run.2).max().unwrap();
        let pages_per_sequence = longest.div_ceil(page_size) + 1;
        let pages = sequences * pages_per_sequence;
        // Pages in a shuffled order; the last column is a page that no sequence has.
        let mut order: Vec<i32> = (0..pages as i32).collect();
        for i in (1..pages).rev() {
            order.swap(i, random.below(i + 1));
        }
        let page_table: Vec<i32> = (0..pages)
            .map(|i| if i % pages_per_sequence == pages_per_sequence - 1 { -1 } else { order[i] })
            .collect();
        let (mut sequence, mut position) = (Vec::new(), Vec::new());
        for &(run, start, len) in runs {
            sequence.extend(std::iter::repeat_n(run, len));
            position.extend((start..start + len).map(|p| p as i32));
        }
        // Pages lie apart by a row that is nobody's.
        let (tokens, page_rows) = (sequence.len(), kv_heads * page_size + 1);
        let shape = Shape {
            tokens,
            heads,
            kv_heads,
            dim,
            v_dim,
            keys: Strides { page: page_rows * dim, row: dim },
            values: Strides { page: page_rows * v_dim, row: v_dim },
            pages,
            page_size,
            sequences,
            pages_per_sequence,
            kv,
            scale: 3.0 / (dim as f32).sqrt(),
            softcap,
            window,
        };
        let q = random.floats(tokens * heads * dim);
        let (keys, k) = stored(kv, &random.floats(pages * page_rows * dim));
        let (values, v) = stored(kv, &random.floats(pages * page_rows * v_dim));
        let sinks = sinks.then(|| random.floats(heads));
        let mut case = Self { shape, q, keys, values, sinks, page_table, sequence, position, want: vec![] };
        case.want = case.oracle(&k, &v);
        case
    }

    /// Attention as its formula reads, in f64, a row at a time.
    fn oracle(&self, k: &[f32], v: &[f32]) -> Vec<f64> {
        let s = &self.shape;
        let mut out = Vec::new();
        for (token, head) in (0..s.tokens).flat_map(|t| (0..s.heads).map(move |h| (t, h))) {
            if self.sequence[token] < 0 {
                out.extend(vec![0.0; s.v_dim]);
                continue;
            }
            let position = self.position[token] as usize;
            let first = s.window.map_or(0, |w| (position + 1).saturating_sub(w));
            let row = |j: usize| {
                let entry = self.sequence[token] as usize * s.pages_per_sequence + j / s.page_size;
                let page = self.page_table[entry] as usize;
                let head = head / (s.heads / s.kv_heads);
                page * (s.kv_heads * s.page_size + 1) + head * s.page_size + j % s.page_size
            };
            let q = &self.q[(token * s.heads + head) * s.dim..][..s.dim];
            let mut scores: Vec<f64> = (first..=position)
                .map(|j| {
                    let k = &k[row(j) * s.dim..][..s.dim];
                    let dot: f64 = q.iter().zip(k).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                    let score = dot * f64::from(s.scale);
                    s.softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
                })
                .collect();
            let sink = self.sinks.as_ref().map(|sinks| f64::from(sinks[head]));
            let max = scores.iter().copied().chain(sink).fold(f64::MIN, f64::max);
            for score in &mut scores {
                *score = (*score - max).exp();
            }
            let sum = scores.iter().sum::<f64>() + sink.map_or(0.0, |sink| (sink - max).exp());
            let mut result = vec![0.0; s.v_dim];
            for (j, weight) in (first..=position).zip(&scores) {
                let v = &v[row(j) * s.v_dim..][..s.v_dim];
                result.iter_mut().zip(v).for_each(|(r, &v)| *r += weight / sum * f64::from(v));
            }
            out.extend(result);
        }
        out
    }

    fn batch(&self) -> Batch<'_> {
        Batch { page_table: &self.page_table, sequence: &self.sequence, position: &self.position }
    }

    /// Runs both phases, the units in `pieces` parts taken from the last to the first.
    fn attend(&self, level: Level, pieces: usize) -> Vec<f32> {
        let attention = Attention::new(level, self.shape);
        let schedule = attention.schedule(self.batch()).unwrap();
        let mut out = vec![f32::NAN; self.want.len()];
        let mut scratch = vec![f32::NAN; attention.worker_scratch_bytes() / 4];
        let mut shared = vec![f32::NAN; attention.shared_scratch_bytes() / 4];
        let arrays = Arrays {
            q: self.q.as_ptr(),
            q_stride: self.shape.heads * self.shape.dim,
            keys: self.keys.as_ptr().cast(),
            values: self.values.as_ptr().cast(),
            sinks: self.sinks.as_ref().map_or(std::ptr::null(), Vec::as_ptr),
            out: out.as_mut_ptr(),
        };
        let part = |total: usize, i: usize| total * i / pieces..total * (i + 1) / pieces;
        // SAFETY: the arrays have the shape's sizes.
        unsafe {
            for i in (0..pieces).rev() {
                let units = part(schedule.units(), i);
                attention.run(&schedule, units, &arrays, scratch.as_mut_ptr(), shared.as_mut_ptr());
            }
            for i in (0..pieces).rev() {
                attention.join(&schedule, part(schedule.joins(), i), &arrays, shared.as_ptr());
            }
        }
        out
    }
}

/// Compares every level with the oracle, and divisions of the work with each other.
fn check(heads: Heads, runs: Runs<'_>, options: Options) {
    let case = Case::new(heads, runs, options);
    for level in levels() {
        let what = format!("{level} {heads:?} {runs:?} window {:?}", options.window);
        let out = case.attend(level, 1);
        assert_close(&what, &out, &case.want, 4e-6);
        assert!(case.attend(level, 3) == out, "{what}: divisions differ");
    }
}

#[test]
fn a_prompt_attends_to_itself() {
    for heads in
        [[2, 1, 8, 8], [4, 2, 24, 24], [6, 1, 64, 64], [9, 3, 64, 64], [14, 2, 80, 80], [1, 1, 128, 128]]
    {
        check(heads, &[(0, 0, 75)], PLAIN);
    }
    check([2, 2, 256, 256], &[(0, 0, 130)], PLAIN);
}

#[test]
fn a_token_attends_to_a_deep_context() {
    let small =
        [[1, 1, 8, 8], [3, 1, 24, 24], [12, 2, 128, 128], [10, 2, 64, 64], [32, 8, 96, 96], [7, 1, 40, 40]];
    // On either side of where a tile has many rows.
    let large = [[12, 1, 64, 64], [13, 1, 64, 64], [32, 1, 64, 64], [33, 1, 64, 64]];
    for heads in small.into_iter().chain(large) {
        check(heads, &[(0, 1499, 1)], PLAIN);
        check(heads, &[(0, 63, 1)], PLAIN);
        check(heads, &[(0, 0, 1)], PLAIN);
    }
}

#[test]
fn ragged_batches_mix_prompts_tokens_and_padding() {
    let runs: Runs<'_> =
        &[(2, 700, 1), (-1, 0, 2), (0, 5, 20), (1, 0, 1), (3, 64, 1), (-1, 9, 1), (4, 130, 9)];
    for heads in [[4, 2, 64, 64], [6, 1, 128, 128], [2, 2, 24, 24]] {
        check(heads, runs, PLAIN);
        check(heads, runs, Options { window: Some(33), ..PLAIN });
        check(heads, runs, Options { sinks: true, ..PLAIN });
    }
    check([4, 4, 8, 8], &[(-1, 0, 3)], PLAIN);
}

#[test]
fn windows_hide_what_lies_before_them() {
    for window in [1, 2, 17, 64, 100, 100_000] {
        let options = Options { window: Some(window), page_size: 7, ..PLAIN };
        check([4, 1, 64, 64], &[(0, 0, 90)], options);
        check([4, 1, 64, 64], &[(0, 600, 40)], options);
        check([4, 1, 64, 64], &[(0, 1300, 1)], options);
    }
}

#[test]
fn sinks_and_soft_caps_change_the_weights_as_defined() {
    for options in [
        Options { sinks: true, ..PLAIN },
        Options { softcap: Some(2.0), ..PLAIN },
        Options { sinks: true, softcap: Some(0.5), window: Some(50), ..PLAIN },
    ] {
        check([8, 2, 64, 64], &[(0, 0, 70)], options);
        check([8, 2, 64, 64], &[(0, 1100, 1)], options);
        check([8, 2, 64, 64], &[(0, 30, 1), (1, 40, 1)], options);
    }
}

#[test]
fn keys_and_values_may_have_any_type_and_size() {
    for kv in [Element::F32, Element::F16, Element::BF16] {
        let options = Options { kv, page_size: 32, ..PLAIN };
        check([4, 2, 72, 40], &[(0, 0, 66)], options);
        check([4, 2, 72, 40], &[(0, 600, 1)], options);
        // Latent attention: many heads over one, values narrower than keys; more heads than a tile holds.
        check([64, 1, 576, 512], &[(0, 70, 2)], options);
        check([50, 1, 24, 16], &[(0, 600, 1), (1, 3, 1)], options);
    }
}

#[test]
fn a_prompt_in_one_pass_and_token_by_token_agree() {
    let whole = Case::new([6, 2, 64, 64], &[(0, 0, 40)], PLAIN);
    let row = 6 * 64;
    for level in levels() {
        let at_once = whole.attend(level, 1);
        for token in [0, 1, 17, 39] {
            let shape = Shape { tokens: 1, ..whole.shape };
            let mut one = Case::new([6, 2, 64, 64], &[(0, token, 1)], PLAIN);
            one.shape = shape;
            one.q = whole.q[token * row..][..row].to_vec();
            (one.keys, one.values) = (whole.keys.clone(), whole.values.clone());
            one.page_table = whole.page_table.clone();
            let want: Vec<f64> = at_once[token * row..][..row].iter().map(|&v| f64::from(v)).collect();
            assert_close(&format!("{level} {token}"), &one.attend(level, 1), &want, 1e-6);
        }
    }
}

#[test]
fn indices_outside_of_their_tables_are_errors() {
    let case = || Case::new([2, 1, 8, 8], &[(0, 30, 2), (1, 0, 1)], PLAIN);
    let error = |case: &Case| -> IndexError {
        Attention::new(Level::SCALAR, case.shape).schedule(case.batch()).map(|_| ()).expect_err("refused")
    };
    let mut bad = case();
    bad.sequence[2] = 2;
    assert_eq!(error(&bad).what, "sequence");
    for position in [-1, 48, i32::MAX] {
        bad = case();
        bad.position[1] = position;
        assert_eq!((error(&bad).what, error(&bad).at), ("position", 1));
    }
    for page in [-1, 6, i32::MIN, i32::MAX] {
        bad = case();
        bad.page_table[1] = page;
        assert_eq!((error(&bad).what, error(&bad).at), ("page", 1));
    }
    // A page that nobody looks at may be missing.
    bad = case();
    bad.page_table[2] = -1;
    bad.page_table[4] = 1_000_000;
    assert!(Attention::new(Level::SCALAR, bad.shape).schedule(bad.batch()).is_ok());
}
