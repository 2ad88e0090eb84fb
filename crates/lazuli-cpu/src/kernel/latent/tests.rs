//! Expanded attention against a naive f64 oracle, at every level, with scratch memory of exactly the stated size.

use super::super::Element;
use super::super::attention;
use super::super::matmul_float::Weights;
use super::super::testing::{Level, Random, assert_close, levels, stored};
use super::{Arrays, Batch, Latent, Shape, Stored, Up, Ups};

/// Runs of tokens: `(sequence, first position, tokens)`; sequence -1 is padding.
type Runs<'a> = &'a [(i32, usize, usize)];

struct Case {
    shape: Shape,
    stored: [Stored; 2],
    q: Vec<f32>,
    rows: Vec<u32>,
    /// In the order that `stored` says, head after head.
    key_up: Vec<f32>,
    value_up: Vec<f32>,
    page_table: Vec<i32>,
    sequence: Vec<i32>,
    position: Vec<i32>,
    want: Vec<f64>,
}

impl Case {
    /// Heads, nope, rope, rank, value.
    fn new([heads, nope, rope, rank, v_dim]: [usize; 5], runs: Runs<'_>, stored_as: [Stored; 2]) -> Self {
        let mut random = Random::new((heads * rank + runs.len()) as u64);
        let (kv, page_size) = (Element::F16, 16);
        let sequences = runs.iter().map(|run| run.0 + 1).max().unwrap().max(1) as usize;
        let pages_per_sequence = runs.iter().map(|run| run.1 + run.2).max().unwrap().div_ceil(page_size);
        let pages = sequences * pages_per_sequence;
        let (mut sequence, mut position) = (Vec::new(), Vec::new());
        for &(run, start, len) in runs {
            sequence.extend(std::iter::repeat_n(run, len));
            position.extend((start..start + len).map(|p| p as i32));
        }
        let (tokens, dim) = (sequence.len(), rank + rope);
        let rows = attention::Shape {
            tokens,
            heads,
            kv_heads: 1,
            dim,
            v_dim,
            keys: attention::Strides { page: (page_size + 1) * dim, row: dim },
            values: attention::Strides { page: (page_size + 1) * dim, row: dim },
            pages,
            page_size,
            sequences,
            pages_per_sequence,
            kv,
            scale: 1.0 / ((nope + rope) as f32).sqrt(),
            softcap: None,
            window: None,
        };
        let q = random.floats(tokens * heads * (nope + rope));
        let (key_up, value_up) = (random.floats(heads * rank * nope), random.floats(heads * rank * v_dim));
        let (words, read) = stored(kv, &random.floats(pages * (page_size + 1) * dim));
        let page_table = (0..pages as i32).rev().collect();
        let mut case = Self {
            shape: Shape { rows, nope, rank },
            stored: stored_as,
            q,
            rows: words,
            key_up,
            value_up,
            page_table,
            sequence,
            position,
            want: vec![],
        };
        case.want = case.oracle(&read);
        case
    }

    /// Output `output` of a projection of a row.
    fn up(&self, which: usize, head: usize, output: usize, row: &[f32]) -> f64 {
        let (all, outputs) =
            [(&self.key_up, self.shape.nope), (&self.value_up, self.shape.rows.v_dim)][which];
        let rank = self.shape.rank;
        let weights = &all[head * outputs * rank..];
        let weight = |at: usize| match self.stored[which] {
            Stored::Outputs => weights[output * rank + at],
            Stored::Latents => weights[at * outputs + output],
        };
        (0..rank).map(|at| f64::from(weight(at)) * f64::from(row[at])).sum()
    }

    fn oracle(&self, rows: &[f32]) -> Vec<f64> {
        let Shape { rows: s, nope, rank } = &self.shape;
        let q_dim = nope + s.dim - rank;
        let mut out = Vec::new();
        for (token, head) in (0..s.tokens).flat_map(|t| (0..s.heads).map(move |h| (t, h))) {
            let mut result = vec![0.0; s.v_dim];
            if self.sequence[token] >= 0 {
                let q = &self.q[(token * s.heads + head) * q_dim..][..q_dim];
                let row = |j: usize| {
                    let entry = self.sequence[token] as usize * s.pages_per_sequence + j / s.page_size;
                    let at = self.page_table[entry] as usize * (s.page_size + 1) + j % s.page_size;
                    &rows[at * s.dim..][..s.dim]
                };
                let positions = 0..=self.position[token] as usize;
                let score = |j: usize| {
                    let plain: f64 = (0..*nope).map(|d| f64::from(q[d]) * self.up(0, head, d, row(j))).sum();
                    let rotated = q[*nope..].iter().zip(&row(j)[*rank..]);
                    let rotated: f64 = rotated.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                    (plain + rotated) * f64::from(s.scale)
                };
                let scores: Vec<f64> = positions.clone().map(score).collect();
                let max = scores.iter().copied().fold(f64::MIN, f64::max);
                let sum: f64 = scores.iter().map(|score| (score - max).exp()).sum();
                for (j, score) in positions.zip(&scores) {
                    let weight = (score - max).exp() / sum;
                    for (d, result) in result.iter_mut().enumerate() {
                        *result += weight * self.up(1, head, d, row(j));
                    }
                }
            }
            out.extend(result);
        }
        out
    }

    fn batch(&self) -> Batch<'_> {
        Batch { page_table: &self.page_table, sequence: &self.sequence, position: &self.position }
    }

    fn ups(&self, head: usize) -> Ups<'_> {
        let up = |which: usize| {
            let (all, outputs) =
                [(&self.key_up, self.shape.nope), (&self.value_up, self.shape.rows.v_dim)][which];
            let (stored, rank) = (self.stored[which], self.shape.rank);
            let stride = if stored == Stored::Outputs { rank } else { outputs };
            let data = all[head * outputs * rank..].as_ptr().cast();
            Up { weights: Weights::Float { element: Element::F32, data, stride }, stored }
        };
        Ups { key: up(0), value: up(1) }
    }

    /// Attends as one of so many workers would, its units last to first; nothing behind the scratch is touched.
    fn attend(&self, level: Level, workers: usize) -> Vec<f32> {
        const BEHIND: usize = 64;
        let latent = Latent::new(level, self.shape, workers);
        let schedule = latent.schedule(self.batch()).unwrap();
        let mut out = vec![f32::NAN; self.want.len()];
        let len = latent.worker_scratch_bytes() / 4;
        let mut scratch = vec![f32::NAN; len + BEHIND];
        scratch[len..].fill(7.0);
        let arrays = Arrays {
            q: self.q.as_ptr(),
            q_stride: self.q.len() / self.shape.rows.tokens,
            rows: self.rows.as_ptr().cast(),
            out: out.as_mut_ptr(),
        };
        for unit in (0..schedule.units()).rev() {
            let ups = self.ups(schedule.head(unit));
            // SAFETY: the arrays have the shape's sizes.
            unsafe { latent.run(&schedule, unit, &arrays, &ups, scratch.as_mut_ptr()) };
        }
        assert!(scratch[len..].iter().all(|&v| v == 7.0), "{level}: written behind the scratch");
        out
    }
}

fn check(sizes: [usize; 5], runs: Runs<'_>) {
    for stored in
        [[Stored::Outputs, Stored::Outputs], [Stored::Latents, Stored::Outputs], [Stored::Latents; 2]]
    {
        let case = Case::new(sizes, runs, stored);
        for level in levels() {
            let what = format!("{level} {sizes:?} {runs:?} {stored:?}");
            let out = case.attend(level, 1);
            assert_close(&what, &out, &case.want, 1e-5);
            assert!(case.attend(level, 9) == out, "{what}: divisions differ");
        }
    }
}

#[test]
fn prompts_and_continuations_attend_to_expanded_rows() {
    check([2, 16, 8, 32, 16], &[(0, 0, 70)]);
    check([1, 128, 64, 64, 128], &[(0, 200, 50)]);
    check([3, 21, 6, 37, 50], &[(0, 140, 13)]);
    check([1, 0, 8, 24, 3], &[(0, 5, 9)]);
}

#[test]
fn runs_are_cut_among_workers_without_a_difference() {
    check([1, 8, 4, 16, 8], &[(0, 20, 530)]);
    check([2, 16, 8, 24, 16], &[(1, 120, 130), (-1, 0, 3), (0, 0, 100), (2, 300, 1), (-1, 4, 1)]);
}

#[test]
fn indices_outside_of_their_tables_are_errors() {
    let mut case = Case::new([1, 8, 4, 16, 8], &[(0, 30, 2), (1, 0, 1)], [Stored::Outputs; 2]);
    let error = |case: &Case| {
        let latent = Latent::new(Level::SCALAR, case.shape, 1);
        latent.schedule(case.batch()).map(|_| ()).expect_err("refused").what
    };
    case.page_table[1] = 4;
    assert_eq!(error(&case), "page");
    case.position[1] = 32;
    assert_eq!(error(&case), "position");
    case.sequence[0] = 2;
    assert_eq!(error(&case), "sequence");
}
