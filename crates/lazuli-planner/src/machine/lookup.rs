//! Finds machines by name, in any case, with or without their memory.

use super::table::{Chip, Status, machines};
use super::{Kind, Machine};
use crate::{Error, Result};

/// The machine that a name stands for: a chip as the tables have it, or a part of its name that is enough (`h200`,
/// `M4 Max`), optionally with its memory (`M4 Max 128GB`) or its bandwidth (`M4 Max 410`). A chip that was sold with
/// several bandwidths has the range of them, unless its memory or bandwidth tells which it is.
///
/// # Errors
/// [`Error::NoSuchChip`], [`Error::UnknownMachine`] with the nearest names, or [`Error::TooMuchMemory`].
pub fn find(name: &str) -> Result<Machine> {
    let wanted = Wanted::parse(name);
    let matches = |chip: &&Chip| is_called(&chip.machine.name, &wanted.words);
    let exact = machines().iter().filter(|chip| words(&chip.machine.name) == wanted.words);
    let mut found: Vec<&Chip> = exact.collect();
    if found.is_empty() {
        found = machines().iter().filter(matches).collect();
    }
    if let Some(chip) = found.iter().find(|chip| chip.status == Status::Missing) {
        return Err(no_such_chip(chip));
    }
    if found.is_empty() {
        return Err(unknown(name, &wanted.words));
    }
    let first = &found[0].machine;
    let same_family = |chip: &&Chip| family(&chip.machine.name) == family(&first.name);
    if !found.iter().all(same_family) {
        let names: Vec<_> = found.iter().map(|chip| chip.machine.name.as_str()).collect();
        return Err(Error::UnknownMachine { name: name.to_owned(), nearest: names.join(", ") });
    }
    narrow(&mut found, &wanted)?;
    Ok(joined(&found, &wanted))
}

/// Drops bins that the memory or the bandwidth asked for excludes.
fn narrow(found: &mut Vec<&Chip>, wanted: &Wanted) -> Result<()> {
    if let Some(gb) = wanted.memory {
        let most = found.iter().filter_map(|chip| chip.machine.memory).max().unwrap_or(u64::MAX) >> 30;
        if gb > most {
            let chip = family(&found[0].machine.name).to_owned();
            return Err(Error::TooMuchMemory { chip, most, asked: gb });
        }
        // Which bin it is, its memory may tell; a size that was never sold is planned with any that could hold it.
        if found.iter().any(|chip| chip.sizes.contains(&gb)) {
            found.retain(|chip| chip.sizes.contains(&gb));
        }
        found.retain(|chip| chip.machine.memory.is_none_or(|memory| memory >> 30 >= gb));
    }
    if let Some(gbs) = wanted.bandwidth {
        let is = |chip: &&Chip| (chip.machine.bandwidth.0 / 1e9 - gbs).abs() < 1.0;
        if !found.iter().any(is) {
            let bins: Vec<_> =
                found.iter().map(|chip| format!("{:.0}", chip.machine.bandwidth.0 / 1e9)).collect();
            let expected = format!("the {} has {} GB/s", family(&found[0].machine.name), bins.join(" or "));
            return Err(Error::value("bandwidth", &gbs.to_string(), expected));
        }
        found.retain(|chip| is(chip));
    }
    Ok(())
}

/// One machine of the bins that are left.
fn joined(found: &[&Chip], wanted: &Wanted) -> Machine {
    // The largest bin names the memory and the cores; the bandwidth is a range over all.
    let largest = found.iter().max_by(|a, b| a.machine.bandwidth.0.total_cmp(&b.machine.bandwidth.0));
    let mut machine = largest.map_or_else(|| found[0].machine.clone(), |chip| chip.machine.clone());
    let bandwidths = found.iter().map(|chip| chip.machine.bandwidth.0);
    machine.bandwidth.0 = bandwidths.fold(f64::INFINITY, f64::min);
    if found.len() > 1 {
        machine.name = family(&machine.name).to_owned();
    }
    if let Some(gb) = wanted.memory {
        machine.memory = Some(gb << 30);
        machine.name = format!("{} {gb}GB", machine.name);
    }
    machine
}

struct Wanted {
    words: Vec<String>,
    memory: Option<u64>,
    bandwidth: Option<f64>,
}

impl Wanted {
    fn parse(name: &str) -> Self {
        let mut wanted = Self { words: Vec::new(), memory: None, bandwidth: None };
        let all = words(name);
        let apple = all.first().is_some_and(|w| w.starts_with('m') && w[1..].parse::<u8>().is_ok());
        for (index, word) in all.iter().enumerate() {
            let next_is_gb = all.get(index + 1).is_some_and(|next| next == "gb");
            let number = word.strip_suffix("gb").unwrap_or(word).parse::<u64>().ok();
            match number {
                Some(gb) if word.ends_with("gb") || next_is_gb => wanted.memory = Some(gb),
                // A bare number behind an Apple chip is a bin; elsewhere it is part of the name ("RTX 4090").
                Some(gbs) if apple && gbs > 100 => wanted.bandwidth = Some(gbs as f64),
                _ if word == "gb" || word == "gb/s" || word == "apple" => {}
                _ => wanted.words.push(word.clone()),
            }
        }
        wanted
    }
}

/// Small words without brackets: `m4 max 40-core`.
fn words(name: &str) -> Vec<String> {
    let lower = name.to_ascii_lowercase().replace(['(', ')', '_', ','], " ");
    let mut words: Vec<String> = lower.split_whitespace().map(str::to_owned).collect();
    if words.first().is_some_and(|w| w == "apple") {
        words.remove(0);
    }
    words
}

/// Whether all words stand in a name; `m4` alone is the plain chip, not its larger relatives.
fn is_called(name: &str, wanted: &[String]) -> bool {
    let own = words(name);
    let has = |word: &String| own.iter().any(|w| w == word || w.trim_end_matches('+') == word);
    let plain = wanted.len() == 1 && own[0] == wanted[0] && own.len() > 1;
    !wanted.is_empty() && wanted.iter().all(has) && !(plain && own[0].starts_with('m'))
}

/// The chip without its bin.
fn family(name: &str) -> &str {
    if name.starts_with('M') { name.split(" (").next().unwrap_or(name) } else { name }
}

fn describe(chip: &Chip) -> String {
    let memory = chip.machine.memory.map_or_else(String::new, |m| format!(", up to {} GB", m >> 30));
    format!("{} ({:.0} GB/s{memory})", chip.machine.name, chip.machine.bandwidth.0 / 1e9)
}

/// The chips of the same and the neighbouring generations that are nearest in name.
fn no_such_chip(missing: &Chip) -> Error {
    let Kind::Apple { generation, .. } = missing.machine.kind else {
        return unknown(&missing.machine.name, &[]);
    };
    let suffix = missing.machine.name.split_once(' ').map_or("", |(_, rest)| rest);
    let near = machines().iter().filter(|chip| {
        let same_size = chip.machine.name.ends_with(suffix) && chip.status == Status::Shipped;
        let largest = chip.machine.name.starts_with(&format!("M{generation} Max"));
        chip.status != Status::Missing && (same_size || largest)
    });
    let neighbours: Vec<_> = near.map(describe).collect();
    let neighbours = neighbours.into_iter().rev().take(4).collect::<Vec<_>>().join(", ");
    Error::NoSuchChip { name: missing.machine.name.clone(), why: missing.source.clone(), neighbours }
}

fn unknown(name: &str, wanted: &[String]) -> Error {
    let wanted = wanted.join(" ");
    let near = |chip: &Chip| strsim::jaro_winkler(&words(&chip.machine.name).join(" "), &wanted);
    let existing = machines().iter().filter(|chip| chip.status != Status::Missing);
    let mut ranked: Vec<_> = existing.map(|chip| (near(chip), chip.machine.name.as_str())).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    let nearest = ranked.iter().take(4).map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
    Error::UnknownMachine { name: name.to_owned(), nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_case_with_memory_and_bins() {
        let found = |name: &str| {
            let m = find(name).unwrap_or_else(|e| panic!("{name}: {e}"));
            (m.name.clone(), m.memory.map(|b| b >> 30), m.bandwidth.0 / 1e9, m.bandwidth.1 / 1e9)
        };
        assert_eq!(found("m4 max 128gb"), ("M4 Max (40-core) 128GB".into(), Some(128), 546.0, 546.0));
        assert_eq!(found("M4 Max"), ("M4 Max".into(), Some(128), 410.0, 546.0));
        assert_eq!(found("M4 Max 36 GB"), ("M4 Max (32-core) 36GB".into(), Some(36), 410.0, 410.0));
        assert_eq!(found("M3 Max 96GB").0, "M3 Max (30-core) 96GB");
        assert_eq!(found("M4 Max 20GB"), ("M4 Max 20GB".into(), Some(20), 410.0, 546.0));
        assert_eq!(found("M4 Max 410").2, 410.0);
        assert_eq!(found("M4 Max 410").3, 410.0);
        assert_eq!(found("Apple M4 Max (40-core)").2, 546.0);
        assert_eq!(found("m3 max 40-core").1, Some(128));
        assert_eq!(found("M4"), ("M4".into(), Some(32), 120.0, 120.0));
        assert_eq!(found("h200"), ("NVIDIA H200".into(), Some(141), 4800.0, 4800.0));
        assert_eq!(found("rtx 4090").0, "NVIDIA RTX 4090");
        assert_eq!(found("dgx spark").0, "NVIDIA GB10 (DGX Spark)");
        for chip in machines().iter().filter(|c| c.status != Status::Missing) {
            assert_eq!(found(&chip.machine.name.to_uppercase()).0, chip.machine.name);
        }
    }

    #[test]
    fn a_chip_that_does_not_exist_is_answered_with_that() {
        for name in ["M4 Ultra", "m4 ultra 256GB", "apple m4 ULTRA"] {
            let error = find(name).unwrap_err().to_string();
            assert!(error.starts_with("there is no M4 Ultra: "), "{error}");
            assert!(
                error.contains("M3 Ultra (819 GB/s, up to 512 GB)") && error.contains("M4 Max"),
                "{error}"
            );
        }
    }

    #[test]
    fn unknown_names_bring_the_nearest() {
        let error = find("M4 Mxa").unwrap_err().to_string();
        assert!(error.contains("M4 Max"), "{error}");
        assert!(matches!(find("toaster"), Err(Error::UnknownMachine { .. })));
        assert!(matches!(find(""), Err(Error::UnknownMachine { .. })));
        let error = find("rtx").unwrap_err().to_string();
        assert!(error.contains("4090") && error.contains("5090"), "{error}");
        let error = find("M4 Max 256GB").unwrap_err().to_string();
        assert_eq!(error, "the M4 Max has 128 GB of memory at most, not 256 GB");
        assert!(find("M4 Max 500").unwrap_err().to_string().contains("410 or 546"));
    }
}
