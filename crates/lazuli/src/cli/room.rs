//! How much context a talking model gets, and whether it fits into this machine at all.

use std::str::FromStr;

use lazuli::core::{DType, Runtime};
use lazuli::engine::EngineOptions;
use lazuli::models::CausalLm;
use lazuli::planning::{Allocation, allocation, longest_context, memory_budget};

use super::generation::Limits;
use super::options::{self, Precision};
use super::ui::bytes;
use super::{Context, Failure};

/// What `--context` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContextSize {
    /// So many tokens.
    Tokens(usize),
    /// As many as the model was made for and the memory has room for.
    Auto,
}

impl FromStr for ContextSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        lazuli::planner::parse_tokens(text)
            .map(Self::Tokens)
            .map_err(|_| "expected a number above zero such as 8192 or 32k, or `auto`".to_owned())
    }
}

/// Below this, nobody asks how much memory there is to the byte.
const PLENTY: u64 = 1 << 30;

/// A model that looks for room, and the threads that would run it.
pub struct Candidate<'a> {
    pub network: &'a dyn CausalLm,
    pub runtime: &'a Runtime,
    /// What the process takes besides: [`lazuli::planning::fixed_bytes`].
    pub fixed: u64,
}

impl Candidate<'_> {
    /// The longest context that fits `budget`; 0 if none does.
    fn longest(&self, kv: DType, budget: u64) -> Result<usize, Failure> {
        Ok(longest_context(self.network, self.runtime, kv, budget, self.fixed)?)
    }
}

/// How a model lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// All of it.
    Fits,
    /// All but this many bytes of weights, which are read from their files again whenever they are needed.
    Rereads(u64),
    /// Not even what has no file behind it.
    Refused,
}

fn verdict(needs: &Allocation, fixed: u64, budget: u64) -> Verdict {
    match needs.total(fixed).checked_sub(budget) {
        None | Some(0) => Verdict::Fits,
        Some(missing) if needs.anonymous(fixed) <= budget => Verdict::Rereads(missing),
        Some(_) => Verdict::Refused,
    }
}

/// The context asked for, or a comfortable one within what the model was made for.
///
/// # Errors
/// If the model does not fit with it, unless that is forced.
pub fn context(cx: &Context, model: &Candidate, limits: &Limits) -> Result<usize, Failure> {
    let spec = model.network.spec();
    let kv = Precision::Fast.kv();
    let budget = memory_budget().map(|budget| budget.safe);
    let usual = EngineOptions::default().context.min(spec.context);
    let context = match limits.context {
        Some(ContextSize::Tokens(asked)) => {
            options::check_long_context(cx, spec, asked, limits.force)?;
            asked
        }
        Some(ContextSize::Auto) => match budget {
            Some(budget) => match model.longest(kv, budget)? {
                // Beside weights that have no room, every page of the cache is one more that is read again.
                0 => model.longest(kv, budget + spec.weight_bytes as u64)?.clamp(1, usual),
                longest => longest,
            },
            None => spec.context,
        },
        None => usual,
    };
    if !limits.force {
        check(cx, model, context, |longest| {
            format!("ask for --context {longest} or less (`auto` takes the most)")
        })?;
    }
    Ok(context)
}

/// Refuses a context whose keys, values and intermediate results have no room in the memory that is free here, and
/// warns where only the weights have not; where the memory is not known, does neither. `shorter` says how to ask for the
/// longest that fits.
///
/// # Errors
/// If it does not fit, with the figures and the way out.
pub fn check(
    cx: &Context,
    model: &Candidate,
    context: usize,
    shorter: impl Fn(usize) -> String,
) -> Result<(), Failure> {
    let (spec, kv) = (model.network.spec(), Precision::Fast.kv());
    let Some(budget) = memory_budget().map(|budget| budget.safe) else { return Ok(()) };
    let rough =
        (spec.weight_bytes + spec.kv_spec(kv, 1, context, lazuli::PREFILL_CHUNK).bytes()) as u64 + PLENTY;
    if rough <= budget {
        return Ok(());
    }
    let needs = allocation(model.network, model.runtime, kv, context)?;
    match verdict(&needs, model.fixed, budget) {
        Verdict::Fits => Ok(()),
        Verdict::Rereads(missing) => {
            cx.ui().note(rereads(&needs, spec.decode_bytes as u64, missing, budget));
            Ok(())
        }
        Verdict::Refused => {
            let way_out = match model.longest(kv, budget)? {
                // Without room for the weights, what is left of the memory may do for the rest.
                0 => match model.longest(kv, budget + needs.weights)? {
                    0 => "take a smaller model or format".to_owned(),
                    longest => shorter(longest),
                },
                longest => shorter(longest),
            };
            let all = needs.total(model.fixed);
            Err(Failure::error(format!(
                "a context of {context} tokens needs {} (weights {}, keys and values {}, the rest {}), but {} of this \
                 machine's memory are free for it: {way_out}, or start anyway with --force and expect swapping",
                bytes(all),
                bytes(needs.weights),
                bytes(needs.kv),
                bytes(all - needs.weights - needs.kv),
                bytes(budget),
            )))
        }
    }
}

/// What it means that weights have no room: `read` bytes of them are needed for a token.
fn rereads(needs: &Allocation, read: u64, missing: u64, budget: u64) -> String {
    // Chosen experts are found in memory as often as chance has it; what is read in order is always just gone.
    let least = (read as f64 * missing as f64 / needs.weights.max(1) as f64) as u64;
    format!(
        "{} of the {} of weights have no room beside the rest in the {} of memory that are free: they are read from disk \
         again and again, {} to {} for each token",
        bytes(missing),
        bytes(needs.weights),
        bytes(budget),
        bytes(least),
        bytes(read),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_may_stay_in_their_file_but_nothing_else() {
        let needs =
            Allocation { weights: 20 << 30, kv: 3 << 30, arena: 1 << 29, scratch: 1 << 28, results: 1 << 28 };
        let (fixed, gib) = (1 << 30, |n: u64| n << 30);
        assert_eq!(verdict(&needs, fixed, gib(25)), Verdict::Fits);
        assert_eq!(verdict(&needs, fixed, gib(25) - 1), Verdict::Rereads(1));
        assert_eq!(verdict(&needs, fixed, gib(5)), Verdict::Rereads(gib(20)));
        assert_eq!(verdict(&needs, fixed, gib(5) - 1), Verdict::Refused);
        // Half of the weights are missing: an expert is on disk every second time.
        let warning = rereads(&needs, gib(2), gib(10), gib(15));
        let figures = [gib(10), gib(20), gib(15), gib(1), gib(2)].map(bytes);
        assert!(figures.iter().all(|figure| warning.contains(figure)), "{warning}");
        assert!(warning.contains("read from disk") && !warning.contains("swap"), "{warning}");
    }

    #[test]
    fn contexts_are_numbers_or_auto() {
        assert_eq!("auto".parse(), Ok(ContextSize::Auto));
        assert_eq!("32k".parse(), Ok(ContextSize::Tokens(32_768)));
        for bad in ["", "0", "-1", "Auto!", "1.5"] {
            assert!(bad.parse::<ContextSize>().is_err(), "{bad}");
        }
    }
}
