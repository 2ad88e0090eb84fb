//! `config.json`: any bytes are an object or are refused, and what it says of quantisation is understood or refused.
#![no_main]

use std::path::Path;

use lazuli_io::{Quantisation, parse_json_object};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(config) = parse_json_object(data, Path::new("config.json")) else { return };
    if let Err(what) = Quantisation::from_config(&config) {
        assert!(!what.is_empty());
    }
});
