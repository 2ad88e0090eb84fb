//! How much context a talking model gets, and whether it fits into this machine at all.

use std::str::FromStr;

use lazuli::core::Runtime;
use lazuli::engine::EngineOptions;
use lazuli::models::CausalLm;
use lazuli::planning::{allocation, longest_context, memory_budget};

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

/// The context asked for, or a comfortable one within what the model was made for.
///
/// # Errors
/// If the model does not fit with it, unless that is forced.
pub fn context(
    cx: &Context,
    model: &dyn CausalLm,
    runtime: &Runtime,
    limits: &Limits,
) -> Result<usize, Failure> {
    let spec = model.spec();
    let kv = Precision::Fast.kv();
    let budget = memory_budget().map(|budget| budget.safe);
    let context = match limits.context {
        Some(ContextSize::Tokens(asked)) => {
            options::check_long_context(cx, spec, asked, limits.force)?;
            asked
        }
        Some(ContextSize::Auto) => match budget {
            Some(budget) => longest_context(model, runtime, kv, budget)?.max(1),
            None => spec.context,
        },
        None => EngineOptions::default().context.min(spec.context),
    };
    if !limits.force {
        check(model, runtime, context, |longest| {
            format!("ask for --context {longest} or less (`auto` takes the most)")
        })?;
    }
    Ok(context)
}

/// Refuses a context with which the model does not fit into the memory that is free here; where the memory is not known,
/// none. `shorter` says how to ask for the longest that fits.
///
/// # Errors
/// If it does not fit, with the figures and the way out.
pub fn check(
    model: &dyn CausalLm,
    runtime: &Runtime,
    context: usize,
    shorter: impl Fn(usize) -> String,
) -> Result<(), Failure> {
    let (spec, kv) = (model.spec(), Precision::Fast.kv());
    let Some(budget) = memory_budget().map(|budget| budget.safe) else { return Ok(()) };
    let rough =
        (spec.weight_bytes + spec.kv_spec(kv, 1, context, lazuli::PREFILL_CHUNK).bytes()) as u64 + PLENTY;
    if rough <= budget {
        return Ok(());
    }
    let needs = allocation(model, runtime, kv, context)?;
    let total = needs.total(spec.vocabulary);
    if total <= budget {
        return Ok(());
    }
    let way_out = match longest_context(model, runtime, kv, budget)? {
        0 => "take a smaller model or format".to_owned(),
        longest => shorter(longest),
    };
    Err(Failure::error(format!(
        "a context of {context} tokens needs {} (weights {}, keys and values {}, the rest {}), but {} of this machine's \
         memory are free for it: {way_out}, or start anyway with --force and expect swapping",
        bytes(total),
        bytes(needs.weights),
        bytes(needs.kv),
        bytes(total - needs.weights - needs.kv),
        bytes(budget),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_numbers_or_auto() {
        assert_eq!("auto".parse(), Ok(ContextSize::Auto));
        assert_eq!("32k".parse(), Ok(ContextSize::Tokens(32_768)));
        for bad in ["", "0", "-1", "Auto!", "1.5"] {
            assert!(bad.parse::<ContextSize>().is_err(), "{bad}");
        }
    }
}
