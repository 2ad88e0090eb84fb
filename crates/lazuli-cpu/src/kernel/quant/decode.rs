//! Few rows of activations: weights are read once, in the file's own layout, ahead of one prefetch stream.

use super::acts::{Activations, FEW, Forms, Row};
use super::blocks::{Blocks, Expanded, GROUP, OCTET, Octet, Remainder, unrolled};
use super::sides::{PER_OCTET, ROOM, SidePlanes, Sides, Spread};
use crate::kernel::stream::{PAGE, ask_each_line, ask_each_page};
use crate::simd::{Dot, Isa};
use std::mem::MaybeUninit;
use std::ops::Range;

/// How far the prefetch stream runs ahead of the weights in use.
pub(super) const AHEAD: usize = 12 * 1024;
/// How far ahead of the weights in use where pages lie is asked for: walks of page tables go on beside each other, and a
/// core that comes to a page unprepared waits for its walk.
pub(super) const PAGES_AHEAD: usize = 8 * PAGE;
/// The same for the planes of scales and biases, of which a row has far fewer bytes.
const SIDE_AHEAD: usize = 1024;
/// A cache line.
const LINE: usize = 64;
/// The most weight rows that a kernel takes at a time; where units end, so that none is taken twice.
pub(super) const ROWS: usize = 4;
/// Rows of so many weights are short: what is done once for a row counts.
const SHORT: usize = 4 * OCTET;

/// A range of weight rows to multiply with at most [`super::acts::FEW`] rows of activations.
pub(super) struct Job {
    /// Row 0 of the weights.
    pub weights: *const u8,
    /// Bytes of one row.
    pub row_bytes: usize,
    /// The other planes.
    pub sides: SidePlanes,
    /// The activations' shape.
    pub shape: Activations,
    /// The activations, in the row-by-row layout.
    pub acts: *const u8,
    /// Weight rows to go through.
    pub rows: Range<usize>,
    /// Weight rows that there are.
    pub all: usize,
    /// Whether neighbouring rows may be read beside each other where they share a page.
    pub neighbours: bool,
    /// Output `[m, n]`.
    pub out: *mut f32,
    /// Values between two rows of the output.
    pub stride: usize,
    /// What will be read after these rows' end, to run the prefetch stream on into; null if nothing.
    pub next: *const u8,
}

impl Job {
    /// Whether `bytes` bytes from the start of row `n` on belong to the weights.
    #[inline(always)]
    pub fn holds(&self, n: usize, bytes: usize) -> bool {
        n < self.all && bytes <= (self.all - n) * self.row_bytes
    }

    /// `M` rows of activations from row `token` on; past the last it is repeated.
    #[inline(always)]
    pub unsafe fn activations<const M: usize>(&self, token: usize) -> [Row; M] {
        // SAFETY: the job's activations have all rows of their shape.
        unsafe {
            let mut rows = [self.shape.row(self.acts, token); M];
            for m in 1..M {
                rows[m] = self.shape.row(self.acts, (token + m).min(self.shape.m - 1));
            }
            rows
        }
    }

    /// The starts of `R` weight rows from row `n` on; past the job's last it is repeated.
    #[inline(always)]
    pub unsafe fn starts<const R: usize>(&self, n: usize) -> [*const u8; R] {
        // SAFETY: the job's rows exist.
        unsafe {
            let first = self.weights.add(n * self.row_bytes);
            let last = self.rows.end - 1 - n;
            let mut starts = [first; R];
            for r in 0..R {
                starts[r] = first.add(r.min(last) * self.row_bytes);
            }
            starts
        }
    }

    /// Asks for scales and biases some way after those of `count` rows from row `n` on.
    #[inline(always)]
    pub fn prefetch_sides<S: Dot, F: Blocks>(&self, s: S, n: usize, count: usize) {
        let row = self.sides.row(n);
        for plane in 0..F::PLANES - 1 {
            let bytes = count * self.sides.row_bytes[plane];
            prefetch(s, row.planes[plane].wrapping_add(SIDE_AHEAD + bytes), bytes);
        }
    }

    /// How many rows of weights and of activations are best taken at a time: `narrow` of the first with AVX2, whose sixteen
    /// registers are soon full; with AVX-512 `short` where rows are short, and `within` where they are shorter than a page and
    /// better read one after the other.
    #[inline(always)]
    pub fn at_a_time<S: Dot>(&self, narrow: usize, short: usize, within: usize) -> (usize, usize) {
        match S::ISA {
            // Plain code gains nothing from more, and is long as it is.
            Isa::Scalar => (1, 1),
            // Further rows of activations find the weights in the first-level cache.
            Isa::Avx512 if self.shape.m > 2 => (1, FEW),
            _ if self.shape.m > 1 => (1, 2),
            Isa::Avx2 => (narrow, 1),
            Isa::Avx512 if self.shape.k <= SHORT => (short, 1),
            // Some hardware that fetches ahead follows one stream within a page.
            Isa::Avx512 if self.row_bytes < PAGE && !self.neighbours => (within, 1),
            Isa::Avx512 | Isa::Neon => (2, 1),
        }
    }

    /// As many rows of weights at a time, or one where there is no room for what planar formats keep beside more.
    pub fn room_for<F: Blocks>(&self, (rows, tokens): (usize, usize)) -> (usize, usize) {
        if F::SPREAD && rows * self.sides.floats > ROOM { (1, tokens) } else { (rows, tokens) }
    }

    /// Writes what `R` weight rows from row `n` on have summed up with `M` rows of activations from row `token` on, those
    /// of them that exist.
    #[inline(always)]
    pub unsafe fn write<S: Dot, const R: usize, const M: usize>(
        &self,
        s: S,
        (n, token): (usize, usize),
        sums: &[[Sum<S>; M]; R],
    ) {
        let (rows, tokens) = (self.rows.end - n, self.shape.m - token);
        for r in 0..R {
            for m in 0..M {
                if r < rows && m < tokens {
                    let (wide, eight) = sums[r][m];
                    // SAFETY: the job's rows and columns exist.
                    unsafe { self.out.add((token + m) * self.stride + n + r).write(s.sum_of(wide, eight)) };
                }
            }
        }
    }

    /// Asks for where those pages lie that begin [`PAGES_AHEAD`] after `count` rows from row `n` on.
    #[inline(always)]
    pub fn ask_pages<S: Dot>(&self, s: S, n: usize, count: usize) {
        let from = self.weights as usize + n * self.row_bytes + PAGES_AHEAD;
        let end = (from + count * self.row_bytes).min(self.weights as usize + self.all * self.row_bytes);
        let page = from.next_multiple_of(PAGE);
        ask_each_page(s, page as *const u8, end.saturating_sub(page));
    }

    /// How far ahead of weight row `n` lies what is asked for while `count` rows from it on are multiplied: a fixed
    /// number of rows or, near the end, the same way into what is read next. Zero if nothing is known of that.
    pub fn ahead(&self, n: usize, count: usize) -> usize {
        let rows = AHEAD.div_ceil(count * self.row_bytes) * count;
        let bytes = rows * self.row_bytes;
        if n + rows < self.rows.end {
            return bytes;
        }
        if self.next.is_null() {
            return 0;
        }
        let beyond = bytes - (self.rows.end - n) * self.row_bytes;
        (self.next as usize).wrapping_add(beyond).wrapping_sub(self.weights as usize + n * self.row_bytes)
    }
}

/// Asks for `bytes` bytes, whole lines, that are needed soon: any address will do.
#[inline(always)]
pub(super) fn prefetch<S: Dot>(s: S, start: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(LINE) {
        s.prefetch(start.wrapping_add(line));
    }
}

/// Asks for the same of weights that are [`Job::ahead`]. They come as far as the second-level cache: more lines can be on
/// their way to that than to the first, in which the activations are to stay.
#[inline(always)]
pub(super) fn prefetch_weights<S: Dot>(s: S, start: *const u8, bytes: usize) {
    ask_each_line(s, start, bytes);
}

/// What a weight row has summed up: 16 lanes of scaled products, and 8 of mins.
pub(super) type Sum<S> = (<S as Dot>::Wide, <S as Dot>::Eight);

/// Chunks of 64 codes in an octet.
const CHUNKS: usize = OCTET / 64;

/// Adds the products of the first `chunks` times 64 of 256 weights of each of `R` rows with `M` rows of activations.
/// What stands in the octet after them may be anything.
#[inline(always)]
unsafe fn octet<S: Dot, F: Blocks, const R: usize, const M: usize>(
    s: S,
    weights: [Octet; R],
    acts: &[Row; M],
    (at, chunks): (usize, usize),
    sums: &mut [[Sum<S>; M]; R],
) {
    // SAFETY: the caller gives whole octets of weights, and activation rows are padded to whole octets.
    unsafe {
        // Activations that are multiplied as they are have no scales.
        let by =
            |m: usize| if F::FLOAT { s.eight_splat(1.0) } else { s.eight(acts[m].scales.add(at / GROUP)) };
        let mut rooms = [[MaybeUninit::<PickRoom>::uninit(); M]; R];
        let first = F::picks(s, rooms[0][0].as_mut_ptr().cast(), F::scales(s, weights[0], by(0)));
        let mut scales = [[first; M]; R];
        for r in 0..R {
            for m in 0..M {
                if r + m > 0 {
                    let room = rooms[r][m].as_mut_ptr().cast();
                    scales[r][m] = F::picks(s, room, F::scales(s, weights[r], by(m)));
                }
            }
        }
        chunk::<S, F, R, M, 0>(s, weights, acts, at, &scales, sums);
        if F::LEN == OCTET || chunks > 1 {
            chunk::<S, F, R, M, 1>(s, weights, acts, at, &scales, sums);
        }
        if F::LEN == OCTET || chunks > 2 {
            chunk::<S, F, R, M, 2>(s, weights, acts, at, &scales, sums);
        }
        if F::LEN == OCTET || chunks > 3 {
            chunk::<S, F, R, M, 3>(s, weights, acts, at, &scales, sums);
        }
        if F::MINS {
            for r in 0..R {
                let mut mins = F::mins(s, weights[r]);
                if F::LEN < OCTET && chunks < CHUNKS {
                    mins = s.eight_first(2 * chunks, mins);
                }
                for m in 0..M {
                    let group_sums = s.eight(acts[m].sums.add(at / GROUP));
                    sums[r][m].1 = s.eight_fma(mins, group_sums, sums[r][m].1);
                }
            }
        }
    }
}

/// Room for [`Blocks::picks`], within a cache line.
#[derive(Clone, Copy)]
#[repr(align(32))]
#[allow(dead_code)] // It is written and read through pointers.
struct PickRoom([f32; PER_OCTET]);

/// Codes `64 C .. 64 C + 64` of an octet.
#[inline(always)]
unsafe fn chunk<S: Dot, F: Blocks, const R: usize, const M: usize, const C: usize>(
    s: S,
    weights: [Octet; R],
    acts: &[Row; M],
    at: usize,
    scales: &[[F::Picks<S>; M]; R],
    sums: &mut [[Sum<S>; M]; R],
) {
    // SAFETY: as for `octet`.
    unsafe {
        if F::FLOAT {
            float_chunk::<S, F, R, M, C>(s, weights, acts, at, scales, sums);
            return;
        }
        let mut a = [s.bytes(acts[0].codes.add(at + 64 * C)); M];
        let mut start = [s.no_sums(); M];
        for m in 0..M {
            a[m] = s.bytes(acts[m].codes.add(at + 64 * C));
            if F::SIGNED {
                start[m] = s.signed_start(a[m]);
            } else if F::OFFSET > 0 {
                start[m] = s.offset_sums(F::OFFSET, a[m]);
            }
        }
        for r in 0..R {
            let w = F::codes::<S, C>(s, weights[r]);
            let signs = if F::SIGN_BITS { F::signs::<S, C>(weights[r]) } else { 0 };
            for m in 0..M {
                let dot = if F::SIGN_BITS {
                    // A sign goes to either factor; magnitudes are what unsigned products take.
                    s.dot_unsigned(start[m], w, s.negate_where(signs, a[m]))
                } else if F::SIGNED {
                    s.dot_signed(start[m], w, a[m])
                } else {
                    s.dot_unsigned(start[m], w, a[m])
                };
                sums[r][m].0 = F::fold::<S, C>(s, sums[r][m].0, dot, scales[r][m]);
            }
        }
    }
}

/// [`chunk`] for codes that are floats: products with the activations as they are.
#[inline(always)]
unsafe fn float_chunk<S: Dot, F: Blocks, const R: usize, const M: usize, const C: usize>(
    s: S,
    weights: [Octet; R],
    acts: &[Row; M],
    at: usize,
    scales: &[[F::Picks<S>; M]; R],
    sums: &mut [[Sum<S>; M]; R],
) {
    // SAFETY: as for `octet`.
    unsafe {
        for m in 0..M {
            let a = acts[m].values.add(at + 64 * C);
            let a = unrolled!(i in [0, 16, 32, 48] => s.wide(a.add(i)));
            for r in 0..R {
                let w = weights[r].at(64 * C);
                let w = unrolled!(i in [0, 16, 32, 48] => s.wide_e4m3(w.add(i)));
                let low = s.wide_fma(w[1], a[1], s.wide_mul(w[0], a[0]));
                let mut high = s.wide_fma(w[3], a[3], s.wide_mul(w[2], a[2]));
                if s.has_e4m3_nan(F::codes::<S, C>(s, weights[r])) {
                    high = s.wide_twice(s.eight_splat(f32::NAN));
                }
                sums[r][m].0 = F::fold_floats::<S, C>(s, sums[r][m].0, [low, high], scales[r][m]);
            }
        }
    }
}

/// Room beside `R` rows for what they do not hold as kernels want it.
pub(super) struct Rooms<const R: usize> {
    ends: [Remainder; R],
    codes: [Expanded; R],
    sides: Spread,
    /// Sides of the octets that rows end in.
    end_sides: [[[f32; PER_OCTET]; 2]; R],
}

impl<const R: usize> Rooms<R> {
    /// With nothing in it.
    #[inline(always)]
    pub fn new() -> Self {
        Self {
            ends: [Remainder::new(); R],
            codes: [Expanded::new(); R],
            sides: Spread::new(),
            end_sides: [[[0.0; PER_OCTET]; 2]; R],
        }
    }

    /// `R` weight rows of a job from row `n` on, past its last that one again, with what kernels read beside their codes.
    #[inline(always)]
    pub unsafe fn rows<F: Blocks>(&mut self, job: &Job, n: usize) -> [Octet; R] {
        // SAFETY: the job's rows exist.
        unsafe {
            let starts = job.starts::<R>(n);
            let mut rows = [Octet::of(starts[0]); R];
            let last = job.rows.end - 1;
            if F::SPREAD {
                self.sides.hold(job.shape.level, &job.sides, (n, R), job.rows.end);
            }
            for r in 0..R {
                let row = if n + r < last { n + r } else { last };
                let sides = match F::PLANES {
                    1 => Sides::NONE,
                    _ if F::SPREAD => self.sides.row(&job.sides, row),
                    _ => job.sides.row(row),
                };
                rows[r] = Octet(starts[r], sides);
            }
            rows
        }
    }

    /// The octet that row `r` of these, the job's row `n`, ends in after `whole` others. What follows the row is zeros, or
    /// anything that kernels make nothing of where nothing has to be copied.
    #[inline(always)]
    pub unsafe fn end<S: Dot, F: Blocks>(
        &mut self,
        s: S,
        job: &Job,
        (r, row): (usize, Octet),
        (n, whole): (usize, usize),
    ) -> Octet {
        // SAFETY: the caller's row, of as many bytes as all of the job.
        unsafe {
            if F::PLANES > 1 && !F::SPREAD {
                return self.ends[r].fill::<F>(row, whole, job.row_bytes, job.sides.row_bytes);
            }
            let codes = if job.shape.k % 64 == 0 && job.holds(n, (whole + 1) * F::OCTET_BYTES) {
                row.0.add(whole * F::OCTET_BYTES)
            } else {
                self.ends[r].fill_codes::<F>(row, whole, job.row_bytes)
            };
            let (from, mut sides) = (row.1.ready_at::<F>(whole), Sides::NONE);
            for plane in 0..F::PLANES - 1 {
                let to = self.end_sides[r][plane].as_mut_ptr();
                let numbers = from.eight(s, plane);
                s.store_eight(to, s.eight_first(job.shape.k % OCTET / GROUP, numbers));
                sides.planes[plane] = to.cast();
            }
            Octet(codes, sides)
        }
    }
}

/// `R` neighbouring weight rows from row `n` on, times `M` rows of activations from row `token` on; past the last row
/// of either it is repeated, and not written again.
#[inline(always)]
unsafe fn rows<S: Dot, F: Blocks, const R: usize, const M: usize>(
    s: S,
    job: &Job,
    n: usize,
    token: usize,
    ahead: usize,
    rooms: &mut Rooms<R>,
) {
    const { assert!(!F::MINS || !F::FINE, "mins stand for 32 weights") };
    // Known when this is compiled, but not as a constant.
    assert!(!F::expanded::<S>() || F::LEN == OCTET, "ends of rows are not expanded");
    let k = job.shape.k;
    // SAFETY: the job's rows exist, whole rows of `k` weights.
    unsafe {
        let acts = job.activations::<M>(token);
        if token == 0 {
            job.prefetch_sides::<S, F>(s, n, R);
        }
        let row = rooms.rows::<F>(job, n);
        let mut sums = [[(s.wide_zero(), s.eight_splat(0.0)); M]; R];
        // One linear stream: the hardware follows two neighbouring ones less well.
        let mut stream = row[0].0.wrapping_add(ahead);
        let whole = k / OCTET;
        for index in 0..whole {
            let mut octets = row;
            for r in 0..R {
                octets[r] = Octet(row[r].0.add(index * F::OCTET_BYTES), row[r].1.ready_at::<F>(index));
            }
            if token == 0 {
                prefetch_weights(s, stream, R * F::OCTET_BYTES);
                stream = stream.wrapping_add(R * F::OCTET_BYTES);
            }
            if F::expanded::<S>() {
                Expanded::fill::<S, F, R>(&mut rooms.codes, s, &octets);
                octets = Expanded::beside(&rooms.codes, octets);
            }
            octet::<S, F, R, M>(s, octets, &acts, (index * OCTET, CHUNKS), &mut sums);
        }
        if F::LEN < OCTET && k % OCTET > 0 {
            let mut octets = row;
            for r in 0..R {
                octets[r] = rooms.end::<S, F>(s, job, (r, row[r]), (n + r, whole));
            }
            if token == 0 {
                prefetch_weights(s, stream, R * (job.row_bytes - whole * F::OCTET_BYTES));
            }
            let chunks = (k % OCTET).div_ceil(64);
            octet::<S, F, R, M>(s, octets, &acts, (whole * OCTET, chunks), &mut sums);
        }
        job.write(s, (n, token), &sums);
    }
}

#[inline(always)]
unsafe fn walk<S: Dot, F: Blocks, const R: usize, const M: usize>(s: S, job: &Job) {
    // SAFETY: the caller's job, handed on row by row.
    unsafe {
        let mut rooms = Rooms::new();
        for n in job.rows.clone().step_by(R) {
            job.ask_pages(s, n, R);
            let ahead = job.ahead(n, R);
            for token in (0..job.shape.m).step_by(M) {
                rows::<S, F, R, M>(s, job, n, token, ahead, &mut rooms);
            }
        }
    }
}

/// What is read of activations.
pub(super) const fn forms<F: Blocks>() -> Forms {
    if F::FLOAT { Forms::VALUES } else { Forms::CODES }
}

/// Multiplies the job's rows.
///
/// # Safety
/// The job's weights must hold its rows, the activations must have been quantised to its shape, which must be of
/// few rows and at least one, and the output must be valid for writing the columns `rows` of its `m` rows.
#[inline(always)]
pub(super) unsafe fn decode<S: Dot, F: Blocks>(s: S, job: &Job) {
    // SAFETY: the caller's.
    unsafe {
        // Codes of fewer than four bits cost more to bring into order than to read.
        let (short, within) =
            (if F::LEN < OCTET { ROWS } else { 2 }, if F::OCTET_BYTES < OCTET / 2 { 2 } else { 1 });
        // Bytes are multiplied faster than two streams of them are followed.
        let narrow = if F::OCTET_BYTES >= OCTET && !F::FLOAT && !job.neighbours { 1 } else { 2 };
        match job.room_for::<F>(job.at_a_time::<S>(narrow, short, within)) {
            (1, 1) => walk::<S, F, 1, 1>(s, job),
            (2, 1) => walk::<S, F, 2, 1>(s, job),
            (ROWS, 1) => walk::<S, F, ROWS, 1>(s, job),
            (_, FEW) => walk::<S, F, 1, FEW>(s, job),
            _ => walk::<S, F, 1, 2>(s, job),
        }
    }
}
