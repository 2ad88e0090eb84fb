//! [`Want`]: a wish such as `20 tok/s at 32k`, and the machines and formats that reach it.

use std::str::FromStr;

use serde::Serialize;

use crate::advice::OFFERED;
use crate::machine::{Status, machines};
use crate::memory::{Memory, Sizes};
use crate::plan::{Beyond, Options};
use crate::speed::{self, EngineKind, Estimate, Traffic};
use crate::{Error, Machine, ModelShape, Result, Weights, parse_tokens};

/// A speed at a context.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Want {
    /// Tokens a second.
    pub speed: f64,
    /// Tokens in the cache.
    pub context: usize,
}

impl FromStr for Want {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let error = || Error::value("wish", text, "expected one such as \"20 tok/s at 32k\"");
        let lower = text.to_ascii_lowercase();
        let (speed, context) = lower.split_once(" at ").map_or((lower.as_str(), None), |(s, c)| (s, Some(c)));
        let number = speed.trim().trim_end_matches(|c: char| !c.is_ascii_digit()).trim();
        let unit = speed.trim()[number.len()..].trim();
        if !["", "tok/s", "t/s", "tokens/s", "tok/sec", "tokens per second"].contains(&unit) {
            return Err(error());
        }
        let speed = number.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0).ok_or_else(error)?;
        let context = context.map(|c| c.trim().trim_end_matches("tokens").trim());
        let context = context.map_or(Ok(8192), parse_tokens).map_err(|_| error())?;
        Ok(Self { speed, context })
    }
}

/// A machine and a format that reach a wish.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reached {
    /// The machine, with the least memory that is enough.
    pub machine: String,
    /// The least packed format that is fast enough.
    pub format: String,
    /// Whose overheads are assumed.
    pub engine: &'static str,
    /// Bytes of memory that the machine must have.
    pub memory_bytes: u64,
    /// Bytes that the model takes.
    pub total_bytes: u64,
    /// Speed at the wish's context.
    pub decode_tok_s: Estimate,
    /// Whether the chip's numbers are confirmed.
    pub status: &'static str,
}

/// What reaches a wish, the least memory first; `only` restricts it to one machine or to one format.
///
/// # Errors
/// [`Error::BeyondContext`] if the model cannot have so long a context.
pub fn reaches(
    model: &ModelShape,
    want: Want,
    options: &Options,
    only: (Option<&Machine>, Option<&Weights>),
) -> Result<Vec<Reached>> {
    if want.context > model.context && options.beyond == Beyond::Refused {
        let Want { context: asked, .. } = want;
        return Err(Error::BeyondContext { model: model.name.clone(), asked, most: model.context });
    }
    let formats: Vec<Weights> = match only.1 {
        Some(weights) => vec![weights.clone()],
        None => OFFERED.iter().map(|name| Weights::parse(name)).collect::<Result<_>>()?,
    };
    let table = machines().iter().filter(|chip| chip.status != Status::Missing);
    let named = table.map(|chip| (&chip.machine, chip.status.name()));
    let candidates: Vec<_> = match only.0 {
        Some(machine) => vec![(machine, "named")],
        None => named.collect(),
    };
    let mut found = Vec::new();
    for (machine, status) in candidates {
        let options = Options { engine: engine(machine, options.engine), ..options.clone() };
        let best = formats.iter().find_map(|weights| reach(model, weights, machine, want, &options));
        found.extend(best.map(|reached| Reached { status, ..reached }));
    }
    found.sort_by(|a, b| (a.memory_bytes, &a.machine).cmp(&(b.memory_bytes, &b.machine)));
    Ok(found)
}

/// mlx-lm runs on Apple silicon alone, and Lazuli is known where it was measured.
fn engine(machine: &Machine, asked: EngineKind) -> EngineKind {
    let usual = EngineKind::usual(machine);
    if asked == EngineKind::LlamaCpp { asked } else { usual }
}

fn reach(
    model: &ModelShape,
    weights: &Weights,
    machine: &Machine,
    want: Want,
    options: &Options,
) -> Option<Reached> {
    let load = options.load(want.context);
    let total = Memory::of(model, weights, &load, Sizes::default()).total();
    let traffic = Traffic::decode(model, weights, options.kv, want.context, options.concurrency);
    let (speed, _) = speed::decode(machine, options.engine, &traffic).ok()?;
    if speed.p50 < want.speed {
        return None;
    }
    let enough = smallest(machine, total)?;
    Some(Reached {
        machine: enough.name,
        format: weights.name().to_owned(),
        engine: options.engine.name(),
        memory_bytes: enough.memory.unwrap_or(0),
        total_bytes: total,
        decode_tok_s: speed,
        status: "",
    })
}

/// The machine with the least memory that it was sold with and that is enough.
fn smallest(machine: &Machine, total: u64) -> Option<Machine> {
    let most = machine.memory?;
    let chip = machines().iter().find(|chip| chip.machine.name == machine.name);
    let sizes = chip.into_iter().flat_map(|chip| &chip.sizes).map(|gb| gb << 30).filter(|&size| size < most);
    sizes.chain([most]).find_map(|size| {
        let mut candidate = machine.clone();
        candidate.memory = Some(size);
        if size < most {
            candidate.name = format!("{} {}GB", machine.name, size >> 30);
        }
        candidate.budget().filter(|budget| total <= budget.safe).map(|_| candidate)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;

    #[test]
    fn wishes_are_read() {
        let want = |speed, context| Want { speed, context };
        assert_eq!("20 tok/s at 32k".parse(), Ok(want(20.0, 32_768)));
        assert_eq!("7.5 t/s".parse(), Ok(want(7.5, 8192)));
        assert_eq!("20".parse(), Ok(want(20.0, 8192)));
        assert_eq!("20tok/s at 4096 tokens".parse(), Ok(want(20.0, 4096)));
        for text in ["", "fast", "0 tok/s", "-1 tok/s", "20 km/h", "20 tok/s at", "20 tok/s at zero"] {
            assert!(text.parse::<Want>().is_err(), "{text}");
        }
    }

    #[test]
    fn cheaper_memory_comes_first_and_everything_listed_reaches_the_wish() {
        let model = catalogue::find("llama-3.3-70b").unwrap().shape().unwrap();
        let want = Want { speed: 8.0, context: 32_768 };
        let list = reaches(&model, want, &Options::new(EngineKind::MlxLm), (None, None)).unwrap();
        assert!(list.len() >= 4, "{list:?}");
        assert!(list.windows(2).all(|pair| pair[0].memory_bytes <= pair[1].memory_bytes));
        assert!(list.iter().all(|r| r.decode_tok_s.p50 >= 8.0 && r.total_bytes < r.memory_bytes));
        assert!(list.iter().any(|r| r.machine.contains("M4 Max (40-core)")));
        // What was never sold is not recommended.
        assert!(list.iter().all(|r| !r.machine.starts_with("M1 Max 48")));
        assert!(list.iter().all(|r| !r.machine.contains("M4 Ultra") && !r.machine.starts_with("M1 Pro")));
    }
}
