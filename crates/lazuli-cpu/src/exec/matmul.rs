//! Matrix products: which kernel takes which weights, and who packs the activations.

use lazuli_core::plan::{Operand, Step};
use lazuli_core::{DType, Layout, Rounding, Shape};
use lazuli_quant::Format;

use super::Precision;
use super::compile::{ELEMENTS, Stage, Wave, element};
use super::task::{Kernel, Loc, Share};
use crate::kernel::matmul_float::{MatmulFloat, PackedRows, StridedMatmul};
use crate::kernel::quant::{Activations, QuantMatmul, TwoSteps};

/// Which activations a wave has packed: products of one input share them, whatever their formats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PackKey {
    value: usize,
    layout: Layout,
    shape: Shape,
    /// Whether in tiles of bfloat16.
    matrix: bool,
}

impl PackKey {
    pub fn of(operand: &Operand) -> Self {
        let (layout, shape) = (operand.layout.clone(), operand.shape.clone());
        Self { value: operand.value, layout, shape, matrix: false }
    }
}

impl Wave<'_> {
    /// `[.., m, k] x [.., k, n]`.
    pub fn matmul(&mut self, step: &Step, rounding: Rounding) {
        let (left, right) = (&step.inputs[0], &step.inputs[1]);
        let along_rows = right.shape.rank() == 2 && (right.layout.strides[0] == 1 || right.shape[0] == 1);
        match right.dtype {
            DType::Quant(format)
                if match rounding {
                    Rounding::Coarse => self.packed_product(left, right, step, format),
                    Rounding::Fine => self.packed_fine(left, right, step, format),
                } => {}
            DType::Quant(format) => self.rows_of(left, right, step, format),
            _ if along_rows => self.float_weights(left, right, step),
            _ => self.strided(left, right, step),
        }
    }

    /// Float weights `[n, k]` with contiguous rows.
    fn float_weights(&mut self, left: &Operand, right: &Operand, step: &Step) {
        let [m, n, k] = sizes(left, right);
        let (x, x_stride) = self.rows_f32(left, k);
        let threads = self.machine.threads;
        let kernel = MatmulFloat::new(self.machine.level, [m, n, k], [x_stride, n], threads);
        self.need_scratch(kernel.scratch_bytes(1));
        let units = kernel.units();
        let stride = right.layout.strides[1];
        let kernel = Kernel::MatmulFloat { kernel, weight: element(right.dtype), stride };
        self.push_units(Stage::Main, kernel, &[x, Loc::of(right)], Loc::of(&step.output), units);
    }

    /// Packed weights times activations in int8, in fast precision and where the format has a kernel.
    fn packed_product(&mut self, left: &Operand, right: &Operand, step: &Step, format: Format) -> bool {
        let [m, n, k] = sizes(left, right);
        let kernel = match self.machine.precision {
            Precision::Fast => {
                QuantMatmul::new(self.machine.level, format, n, k).filter(|kernel| kernel.takes(m))
            }
            Precision::Exact => None,
        };
        let Some(kernel) = kernel else { return false };
        let kernel = kernel.for_threads(self.machine.threads);
        let acts = kernel.activations(m);
        let packed = self.packed_rows(left, acts);
        self.need_scratch(kernel.scratch_bytes(m));
        let units = kernel.units(m);
        let task = Kernel::MatmulPacked { kernel, acts, next: None, share: Share::Taken };
        let inputs = [Loc::Workspace(packed), Loc::of(right)];
        // The kernel has cut its units to what one chunk should take.
        self.push_units(Stage::Main, task, &inputs, Loc::of(&step.output), units);
        true
    }

    /// [`Wave::packed_product`] with activations rounded in two steps: twice the rows, and their products added up.
    fn packed_fine(&mut self, left: &Operand, right: &Operand, step: &Step, format: Format) -> bool {
        let [m, n, k] = sizes(left, right);
        // Weights in bfloat16 would take half of what the second step gives.
        let level = self.machine.level.without_amx();
        let kernel = match self.machine.precision {
            Precision::Fast => QuantMatmul::new(level, format, n, k).filter(|kernel| kernel.takes(2 * m)),
            Precision::Exact => None,
        };
        let (Some(kernel), true) = (kernel, plain_rows(left)) else { return false };
        let kernel = kernel.for_threads(self.machine.threads);
        let acts = kernel.activations(2 * m);
        let (steps, packed) = (acts.two_steps(), self.packed_steps(left, acts));
        self.need_scratch(kernel.scratch_bytes(2 * m));
        let sums = Loc::Workspace(self.reserve(2 * m * n * size_of::<f32>()));
        let task = Kernel::MatmulPacked { kernel, acts, next: None, share: Share::Taken };
        self.push_units(
            Stage::Main,
            task,
            &[Loc::Workspace(packed), Loc::of(right)],
            sums,
            kernel.units(2 * m),
        );
        let join = Kernel::JoinSteps { kernel: steps, cols: n };
        self.push(Stage::Join, join, &[sums], Loc::of(&step.output), (m * n, ELEMENTS));
        true
    }

    /// Where the rows of `left`, which are plain, lie packed in two steps, once for all products of the wave.
    fn packed_steps(&mut self, left: &Operand, acts: Activations) -> usize {
        let (key, steps) = (PackKey::of(left), acts.two_steps());
        let same = |known: &&(PackKey, TwoSteps, usize)| known.0 == key && known.1 == steps;
        let known = self.packed_steps.iter().find(same).map(|known| known.2);
        known.inspect(|&at| self.pack_for(at, acts)).unwrap_or_else(|| {
            let rows = Loc::Workspace(self.reserve(2 * steps.m * steps.k * size_of::<f32>()));
            let at = self.reserve(acts.bytes());
            let split = Kernel::SplitSteps { kernel: steps, stride: left.layout.strides[0] };
            self.push(Stage::Dense, split, &[Loc::of(left)], rows, (steps.m, 1));
            let pack = Kernel::Pack { kernel: acts, stride: steps.k };
            self.push(Stage::Pack, pack, &[rows], Loc::Workspace(at), (acts.units(), 1));
            self.packed_steps.push((key, steps, at));
            at
        })
    }

    /// Where the rows of `left` lie packed, once for all products of the wave with them.
    pub fn packed_rows(&mut self, left: &Operand, acts: Activations) -> usize {
        let key = PackKey { matrix: acts.matrix(), ..PackKey::of(left) };
        let known = self.packed.iter().find(|(other, _)| *other == key).map(|&(_, at)| at);
        known.inspect(|&at| self.pack_for(at, acts)).unwrap_or_else(|| {
            let (x, stride) = self.rows_f32(left, acts.cols());
            let at = self.reserve(acts.bytes());
            let task = Kernel::Pack { kernel: acts, stride };
            self.push(Stage::Pack, task, &[x], Loc::Workspace(at), (acts.units(), 1));
            self.packed.push((key, at));
            at
        })
    }

    /// Has the rows that are packed at `at` packed for a product that reads them as `acts` too.
    fn pack_for(&mut self, at: usize, acts: Activations) {
        for task in self.tasks(Stage::Pack).filter(|task| task.output == Loc::Workspace(at)) {
            if let Kernel::Pack { kernel, .. } = &mut task.kernel {
                *kernel = kernel.and(acts);
            }
        }
    }

    /// Packed weights decoded to f32 rows: the exact precision, and formats without a kernel of their own.
    fn rows_of(&mut self, left: &Operand, right: &Operand, step: &Step, format: Format) {
        let [m, n, k] = sizes(left, right);
        let (x, x_stride) = self.rows_f32(left, k);
        let threads = self.machine.threads;
        let kernel = MatmulFloat::new(self.machine.level, [m, n, k], [x_stride, n], threads);
        self.need_scratch(kernel.scratch_bytes(PackedRows::granule_of(format, k)));
        let units = kernel.units();
        let kernel = Kernel::MatmulRows { kernel, format, rows: n, cols: k };
        self.push_units(Stage::Main, kernel, &[x, Loc::of(right)], Loc::of(&step.output), units);
    }

    /// Two arrays with any strides.
    fn strided(&mut self, left: &Operand, right: &Operand, step: &Step) {
        let rank = left.shape.rank();
        let (m, k, n) = (left.shape[rank - 2], left.shape[rank - 1], step.output.shape.last_dim());
        let (a, a_layout) = self.strided_f32(left);
        let (b, b_layout) = self.strided_f32(right);
        let last_two = |layout: &Layout| {
            let s = &layout.strides;
            [s[s.len() - 2] as isize, s[s.len() - 1] as isize]
        };
        let batch = Shape::from(&left.shape[..rank - 2]);
        let offsets = |layout: &Layout, shared: bool| {
            let mut all = Vec::with_capacity(batch.elements());
            let strides = if shared {
                (0..batch.rank()).map(|_| 0).collect()
            } else {
                layout.strides[..rank - 2].into()
            };
            (Layout { offset: 0, strides }).for_each(&batch, |at| all.push(at as isize));
            all
        };
        let starts = offsets(&a_layout, false).into_iter().zip(offsets(&b_layout, right.shape.rank() == 2));
        let (level, threads) = (self.machine.level, self.machine.threads);
        let (a_strides, b_strides) = (last_two(&a_layout), last_two(&b_layout));
        let kernel = StridedMatmul::new(level, [m, n, k], a_strides, b_strides, starts.collect(), threads);
        self.need_scratch(kernel.scratch_bytes());
        let units = kernel.units();
        self.push_units(Stage::Main, Kernel::MatmulStrided(kernel), &[a, b], Loc::of(&step.output), units);
    }

    fn strided_f32(&mut self, operand: &Operand) -> (Loc, Layout) {
        if operand.dtype == DType::F32 {
            (Loc::of(operand), operand.layout.clone())
        } else {
            (self.dense_f32(operand), Layout::contiguous(&operand.shape))
        }
    }

    /// `[.., k]` as f32 rows, and the elements from one to the next.
    fn rows_f32(&mut self, left: &Operand, k: usize) -> (Loc, usize) {
        if plain_rows(left) { (Loc::of(left), left.layout.strides[0]) } else { (self.dense_f32(left), k) }
    }
}

/// Whether the rows of a matrix are contiguous f32.
fn plain_rows(left: &Operand) -> bool {
    left.shape.rank() == 2 && left.dtype == DType::F32 && left.layout.strides[1] == 1
}

/// `[m, n, k]` of a product with a weight matrix, all outer axes of the left side taken as rows.
fn sizes(left: &Operand, right: &Operand) -> [usize; 3] {
    [left.shape.rows(), right.shape[1], right.shape[0]]
}
