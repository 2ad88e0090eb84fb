//! [`Level`]: which vector instructions this processor has, found out once at run time.

use std::fmt;
use std::sync::OnceLock;

/// The family of vector instructions that a [`Level`] uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust over small arrays; runs anywhere.
    Scalar,
    /// x86-64 with AVX2, FMA and F16C: 8 lanes of `f32`.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ and VL: 16 lanes of `f32`.
    Avx512,
    /// 64-bit Arm: 4 lanes of `f32`.
    Neon,
}

impl Isa {
    /// The name that [`Level::parse`] accepts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
        }
    }
}

/// A vector level that the processor at hand is known to support.
///
/// Values come only from [`Level::detect`], [`Level::supported`] and [`Level::parse`], so holding one proves
/// that its instructions may be executed. Its text form names the details, as in `avx512+dot+bf16`; `+plain` is
/// a variant without dot products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Level {
    isa: Isa,
    dot: bool,
    bf16: bool,
    matrix: Matrix,
}

/// What multiplies whole matrices by one instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(dead_code)] // Each is of one architecture.
enum Matrix {
    None,
    /// 2 rows of 8 signed bytes with as many.
    I8mm,
    /// Tiles of bfloat16.
    Amx,
}

/// A level was asked for that does not exist or that this processor lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelError {
    asked: String,
    available: String,
}

impl fmt::Display for LevelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, available } = self;
        write!(f, "vector level {asked:?} is not available on this processor; choose one of {available}")
    }
}

impl std::error::Error for LevelError {}

impl Level {
    /// Plain Rust, always supported.
    pub const SCALAR: Self = Self { isa: Isa::Scalar, dot: false, bf16: false, matrix: Matrix::None };

    /// The best level of this processor. The processor is asked once.
    pub fn detect() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| Self::supported()[0])
    }

    /// Every level this processor supports, best first, including variants without its dot-product
    /// instructions: what a test runs a kernel over.
    pub fn supported() -> Vec<Self> {
        let mut levels = Vec::new();
        detected(&mut levels);
        levels.push(Self::SCALAR);
        levels
    }

    /// The level named `name`: an instruction set (`scalar`, `avx2`, `avx512`, `neon`), which means its best
    /// variant here, or the full text form of a supported level.
    pub fn parse(name: &str) -> Result<Self, LevelError> {
        let levels = Self::supported();
        let wanted = name.trim();
        levels
            .iter()
            .copied()
            .find(|level| level.isa.name() == wanted || level.to_string() == wanted)
            .ok_or_else(|| LevelError {
                asked: name.to_owned(),
                available: levels.iter().map(Self::to_string).collect::<Vec<_>>().join(", "),
            })
    }

    /// The instruction set.
    pub fn isa(self) -> Isa {
        self.isa
    }

    /// Whether 8-bit dot products have their own instruction (VNNI, AVX-VNNI, Arm dotprod).
    pub fn has_dot(self) -> bool {
        self.dot
    }

    /// Whether 8-bit matrix products have their own instruction (Arm i8mm).
    pub fn has_i8mm(self) -> bool {
        self.matrix == Matrix::I8mm
    }

    /// Whether tiles of bfloat16 are multiplied by one instruction (AMX).
    pub fn has_amx(self) -> bool {
        self.matrix == Matrix::Amx
    }

    /// The same without that.
    pub fn without_amx(self) -> Self {
        if self.has_amx() { Self { matrix: Matrix::None, ..self } } else { self }
    }

    /// Whether bfloat16 dot products have their own instruction.
    pub fn has_bf16(self) -> bool {
        self.bf16
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.isa.name())?;
        let plain = self.isa != Isa::Scalar && !self.dot;
        for (present, name) in [
            (self.dot, "+dot"),
            (plain, "+plain"),
            (self.has_i8mm(), "+i8mm"),
            (self.bf16, "+bf16"),
            (self.has_amx(), "+amx"),
        ] {
            if present {
                f.write_str(name)?;
            }
        }
        Ok(())
    }
}

#[cfg(target_arch = "x86_64")]
fn detected(levels: &mut Vec<Level>) {
    use std::arch::is_x86_feature_detected as has;
    let avx2 = has!("avx2") && has!("fma") && has!("f16c");
    let avx512 = avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    if avx512 {
        let bf16 = has!("avx512bf16");
        if has!("avx512vnni") {
            let level = Level { isa: Isa::Avx512, dot: true, bf16, matrix: Matrix::None };
            if bf16 && super::amx::available() {
                levels.push(Level { matrix: Matrix::Amx, ..level });
            }
            levels.push(level);
        }
        levels.push(Level { isa: Isa::Avx512, dot: false, bf16, matrix: Matrix::None });
    }
    if avx2 {
        if has!("avxvnni") {
            levels.push(Level { isa: Isa::Avx2, dot: true, bf16: false, matrix: Matrix::None });
        }
        levels.push(Level { isa: Isa::Avx2, dot: false, bf16: false, matrix: Matrix::None });
    }
}

#[cfg(target_arch = "aarch64")]
fn detected(levels: &mut Vec<Level>) {
    use std::arch::is_aarch64_feature_detected as has;
    if has!("dotprod") {
        let matrix = if has!("i8mm") { Matrix::I8mm } else { Matrix::None };
        levels.push(Level { isa: Isa::Neon, dot: true, bf16: has!("bf16"), matrix });
    }
    levels.push(Level { isa: Isa::Neon, dot: false, bf16: false, matrix: Matrix::None });
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detected(_levels: &mut Vec<Level>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_supported_level_parses_back_from_its_text() {
        for level in Level::supported() {
            assert_eq!(Level::parse(&level.to_string()), Ok(level));
        }
        assert_eq!(Level::parse("scalar"), Ok(Level::SCALAR));
    }

    #[test]
    fn an_instruction_set_name_means_its_best_variant() {
        let best = Level::detect();
        assert_eq!(Level::parse(best.isa().name()), Ok(best));
    }

    #[test]
    fn an_unsupported_level_is_refused_with_what_there_is() {
        let foreign = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };
        let message = Level::parse(foreign).expect_err("the level is of another architecture").to_string();
        assert!(message.contains(foreign) && message.contains("scalar"), "{message}");
    }
}
