//! Elementwise functions, comparisons, selection, casts and the arithmetic operators.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::{Array, Binary, DType, Op, Unary};

macro_rules! unary_methods {
    ($($(#[$doc:meta])* $name:ident => $op:ident;)*) => {
        impl Array {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self) -> Self {
                Self::apply(Op::Unary(Unary::$op), &[self])
            }
        )*}
    };
}

unary_methods! {
    /// Absolute values.
    abs => Abs;
    /// `e` to the power of each element.
    exp => Exp;
    /// Natural logarithm.
    log => Log;
    /// Square root.
    sqrt => Sqrt;
    /// One over the square root.
    rsqrt => Rsqrt;
    /// One over each element.
    recip => Recip;
    /// Sine of radians.
    sin => Sin;
    /// Cosine of radians.
    cos => Cos;
    /// Hyperbolic tangent.
    tanh => Tanh;
    /// The error function.
    erf => Erf;
    /// The largest integer that is not above.
    floor => Floor;
    /// The nearest integer, ties to even.
    round => Round;
    /// The logistic function.
    sigmoid => Sigmoid;
}

macro_rules! binary_methods {
    ($($(#[$doc:meta])* $name:ident => $op:ident;)*) => {
        impl Array {$(
            $(#[$doc])*
            /// Shapes broadcast.
            #[track_caller]
            pub fn $name(&self, other: impl Into<Array>) -> Self {
                self.binary(Binary::$op, &other.into())
            }
        )*}
    };
}

binary_methods! {
    /// The larger of two.
    maximum => Max;
    /// The smaller of two.
    minimum => Min;
    /// The first to the power of the second.
    pow => Pow;
    /// The remainder, with the sign of the divisor.
    rem => Rem;
    /// Whether the elements are equal.
    equals => Eq;
    /// Whether the elements differ.
    not_equals => Ne;
    /// Whether the first is less.
    less => Lt;
    /// Whether the first is not greater.
    less_equal => Le;
    /// Whether both hold (for booleans), or the smaller of two.
    and => And;
    /// Whether either holds (for booleans), or the larger of two.
    or => Or;
}

impl Array {
    /// `x * sigmoid(x)`.
    ///
    /// ```
    /// # use lazuli_core::{Array, Runtime};
    /// let y = Array::from_slice(&[0.0f32, 10.0], [2]).silu();
    /// Runtime::reference().eval(&[&y])?;
    /// assert!((y.as_slice::<f32>()?[1] - 9.999_546).abs() < 1e-5);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    #[track_caller]
    pub fn silu(&self) -> Self {
        self * &self.sigmoid()
    }

    /// The Gaussian error linear unit, `x * 0.5 * (1 + erf(x / sqrt(2)))` (Hendrycks and Gimpel, 2016).
    #[track_caller]
    pub fn gelu(&self) -> Self {
        self * &((self * std::f32::consts::FRAC_1_SQRT_2).erf() + 1.0) * 0.5
    }

    /// GELU by its tanh approximation, as Gemma and GPT-2 define it.
    #[track_caller]
    pub fn gelu_tanh(&self) -> Self {
        let cubic = self + &(self * self * self * 0.044_715);
        self * &((cubic * 0.797_884_6).tanh() + 1.0) * 0.5
    }

    /// Each element squared.
    #[track_caller]
    pub fn square(&self) -> Self {
        self * self
    }

    /// `self ? yes : no`, element by element; `self` is boolean. Shapes broadcast.
    ///
    /// ```
    /// # use lazuli_core::{Array, Runtime};
    /// let x = Array::from_slice(&[-1.0f32, 2.0], [2]);
    /// let y = x.less(0.0).select(0.0, &x);
    /// Runtime::reference().eval(&[&y])?;
    /// assert_eq!(y.as_slice::<f32>()?, &[0.0, 2.0]);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    #[track_caller]
    pub fn select(&self, yes: impl Into<Array>, no: impl Into<Array>) -> Self {
        let (yes, no) = (yes.into(), no.into());
        let shape = self.shape().broadcast(yes.shape()).and_then(|s| s.broadcast(no.shape()));
        let Some(shape) = shape else {
            panic!("select: {}, {} and {} do not broadcast", self.shape(), yes.shape(), no.shape())
        };
        let inputs = [self, &yes, &no].map(|a| a.broadcast_to(&shape));
        Self::apply(Op::Select, &[&inputs[0], &inputs[1], &inputs[2]])
    }

    /// The same numbers as another type. Floats round to nearest even, or towards zero to integers;
    /// packed weights decode.
    ///
    /// ```
    /// # use lazuli_core::{Array, DType, Runtime};
    /// let x = Array::from_slice(&[1.9f32, -1.9], [2]).cast(DType::I32);
    /// Runtime::reference().eval(&[&x])?;
    /// assert_eq!(x.as_slice::<i32>()?, &[1, -1]);
    /// # Ok::<(), lazuli_core::Error>(())
    /// ```
    #[track_caller]
    pub fn cast(&self, dtype: DType) -> Self {
        if dtype == self.dtype() { self.clone() } else { Self::apply(Op::Cast(dtype), &[self]) }
    }

    #[track_caller]
    fn binary(&self, op: Binary, other: &Self) -> Self {
        let Some(shape) = self.shape().broadcast(other.shape()) else {
            panic!("{op:?}: shapes {} and {} do not broadcast", self.shape(), other.shape())
        };
        // A lone number takes the type of the float array beside it, so that `half * 2.0` stays half.
        let weak = |a: &Self, beside: &Self| {
            let lone = a.shape().rank() == 0 && a.dtype() == DType::F32 && beside.shape().rank() > 0;
            if lone && beside.dtype().is_float() { a.cast(beside.dtype()) } else { a.clone() }
        };
        let (a, b) = (weak(self, other).broadcast_to(&shape), weak(other, self).broadcast_to(&shape));
        Self::apply(Op::Binary(op), &[&a, &b])
    }
}

macro_rules! operators {
    ($($trait:ident, $method:ident => $op:ident;)*) => {$(
        impl<T: Into<Array>> $trait<T> for &Array {
            type Output = Array;
            #[track_caller]
            fn $method(self, other: T) -> Array {
                self.binary(Binary::$op, &other.into())
            }
        }
        impl<T: Into<Array>> $trait<T> for Array {
            type Output = Array;
            #[track_caller]
            fn $method(self, other: T) -> Array {
                self.binary(Binary::$op, &other.into())
            }
        }
    )*};
}

operators! {
    Add, add => Add;
    Sub, sub => Sub;
    Mul, mul => Mul;
    Div, div => Div;
}

impl Neg for &Array {
    type Output = Array;
    #[track_caller]
    fn neg(self) -> Array {
        Array::apply(Op::Unary(Unary::Neg), &[self])
    }
}

impl Neg for Array {
    type Output = Array;
    #[track_caller]
    fn neg(self) -> Array {
        -&self
    }
}
