//! [`KvFormat`]: how keys and values are stored.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// How the elements of keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KvFormat {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// Blocks of 32 with a half-precision scale: 34 bytes.
    Q8_0,
    /// Blocks of 32 with a half-precision scale: 18 bytes.
    Q4_0,
}

impl KvFormat {
    /// All of them, the largest first.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Q8_0, Self::Q4_0];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        }
    }

    /// Bytes of a row of `elements`: blocks are whole.
    pub fn row_bytes(self, elements: usize) -> usize {
        match self {
            Self::F32 => 4 * elements,
            Self::F16 | Self::Bf16 => 2 * elements,
            Self::Q8_0 => elements.div_ceil(32) * 34,
            Self::Q4_0 => elements.div_ceil(32) * 18,
        }
    }
}

impl fmt::Display for KvFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for KvFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let lower = text.to_ascii_lowercase();
        let lower = match lower.as_str() {
            "q8" => "q8_0",
            "q4" => "q4_0",
            other => other,
        };
        let names = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|format| format.name() == lower);
        found.ok_or_else(|| {
            Error::value("format of keys and values", text, format!("expected one of {}", names()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_their_scales() {
        let bytes = KvFormat::ALL.map(|format| format.row_bytes(128));
        assert_eq!(bytes, [512, 256, 256, 136, 72]);
        assert_eq!(KvFormat::Q8_0.row_bytes(33), 68);
        for format in KvFormat::ALL {
            assert_eq!(format.name().to_uppercase().parse(), Ok(format));
        }
        assert!("q5".parse::<KvFormat>().is_err());
    }
}
