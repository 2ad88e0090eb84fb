//! Sizes as people write them: `64GB`, `32k` tokens, `546` GB/s.

use crate::{Error, Result};

/// Bytes: a number with `B`, `kB`, `MB`, `GB`, `TB` (powers of 1000) or `KiB`, `MiB`, `GiB`, `TiB`; a bare number is
/// gigabytes, as memory is sold. Memory sold as "64 GB" is 64 GiB: [`crate::Machine`] knows.
///
/// # Errors
/// If it is no positive number with a known unit.
pub fn parse_bytes(text: &str) -> Result<u64> {
    let units = [
        ("tib", 1024f64.powi(4)),
        ("gib", 1024f64.powi(3)),
        ("mib", 1024f64.powi(2)),
        ("kib", 1024.0),
        ("tb", 1e12),
        ("gb", 1e9),
        ("mb", 1e6),
        ("kb", 1e3),
        ("t", 1e12),
        ("g", 1e9),
        ("m", 1e6),
        ("b", 1.0),
    ];
    let lower = text.trim().to_ascii_lowercase();
    let found = units.iter().find_map(|(unit, factor)| Some((lower.strip_suffix(unit)?, *factor)));
    let (number, factor) = found.unwrap_or((&lower, 1e9));
    let bytes = positive(number).map(|n| n * factor).filter(|n| (1.0..1e18).contains(n));
    bytes
        .map(|n| n as u64)
        .ok_or_else(|| Error::value("size", text, "expected a number above zero such as 64GB"))
}

/// Tokens: `8192`, `32k` (32 x 1024, as contexts are counted), `1m`.
///
/// # Errors
/// If it is no positive whole number of tokens.
pub fn parse_tokens(text: &str) -> Result<usize> {
    whole("number of tokens", text, "expected a whole number above zero such as 8192 or 32k")
}

/// Sequences: a whole number, written as tokens are.
///
/// # Errors
/// If it is no positive whole number.
pub fn parse_sequences(text: &str) -> Result<usize> {
    whole("number of sequences", text, "expected a whole number above zero such as 4")
}

fn whole(what: &'static str, text: &str, expected: &str) -> Result<usize> {
    let lower = text.trim().to_ascii_lowercase();
    let (number, factor) = match lower.strip_suffix(['k', 'm']) {
        Some(number) if lower.ends_with('k') => (number, 1024.0),
        Some(number) => (number, 1024.0 * 1024.0),
        None => (lower.as_str(), 1.0),
    };
    let tokens = positive(number).map(|n| n * factor).filter(|n| n.fract() == 0.0 && *n < 1e12);
    tokens.map(|n| n as usize).ok_or_else(|| Error::value(what, text, expected))
}

/// Bytes a second from a number in GB/s, with or without the unit.
///
/// # Errors
/// If it is no positive number.
pub fn parse_bandwidth(text: &str) -> Result<f64> {
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.strip_suffix("gb/s").unwrap_or(&lower);
    let found = positive(number).filter(|n| (0.01..1e6).contains(n));
    found
        .map(|n| n * 1e9)
        .ok_or_else(|| Error::value("bandwidth", text, "expected GB/s above zero such as 546"))
}

fn positive(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_written() {
        assert_eq!(parse_bytes("64GB"), Ok(64_000_000_000));
        assert_eq!(parse_bytes("1.5 GiB"), Ok(1_610_612_736));
        assert_eq!(parse_bytes("64"), Ok(64_000_000_000));
        assert_eq!(
            (parse_tokens("32k"), parse_tokens("8192"), parse_tokens("0.5k")),
            (Ok(32768), Ok(8192), Ok(512))
        );
        assert_eq!(parse_bandwidth("546"), Ok(546e9));
        assert_eq!(parse_bandwidth("546 GB/s"), Ok(546e9));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "0", "-3", "-3GB", "0GB", "inf", "NaN", "1e30TB", "lots"] {
            assert!(parse_bytes(text).is_err(), "{text}");
            assert!(parse_bandwidth(text).is_err() || text == "lots GB", "{text}");
        }
        for text in ["", "0", "-1", "1.5", "k", "0k", "1e300"] {
            assert!(parse_tokens(text).is_err(), "{text}");
        }
    }
}
