//! [`Budget`]: how much of a machine's memory a model may use.

use super::{Kind, Machine};

/// Bytes that a model may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// What is safe to plan with.
    pub safe: u64,
    /// What may be had: with other settings of the system, or on a good day.
    pub most: u64,
    /// Where the numbers come from.
    pub why: &'static str,
}

impl Machine {
    /// The part of the memory that a model may use; `None` if the size of the memory is not known.
    ///
    /// On Apple silicon a GPU may use what Metal calls `recommendedMaxWorkingSetSize`, which only the machine itself
    /// knows: reports go from two thirds of 16 GB over three quarters of 36 GB to nine tenths, and
    /// `iogpu.wired_limit_mb` raises it. So the budget is a range.
    pub fn budget(&self) -> Option<Budget> {
        let memory = self.memory?;
        let share = |part: f64| (memory as f64 * part) as u64;
        let reserve = (memory / 50).clamp(512 << 20, 2 << 30);
        Some(match self.kind {
            Kind::Apple { .. } => {
                let gib = memory as f64 / f64::from(1 << 30);
                // Between the two reported sizes the share is interpolated.
                let safe = 2.0 / 3.0 + ((gib - 16.0) / 20.0).clamp(0.0, 1.0) / 12.0;
                let why = "reported limits of the GPU; iogpu.wired_limit_mb raises it";
                Budget { safe: share(safe), most: share(0.9), why }
            }
            Kind::Card => Budget { safe: share(0.95), most: share(0.98), why: "the driver keeps a part" },
            Kind::Unified => Budget {
                safe: share(0.85),
                most: share(0.92),
                why: "the system and other programs need the rest",
            },
            Kind::Host => {
                let free = memory.saturating_sub(self.used);
                let why = "what other programs use and a reserve for the system are left out";
                Budget { safe: free.saturating_sub(reserve), most: memory.saturating_sub(reserve), why }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::find;

    #[test]
    fn shares_are_those_reported() {
        let share = |name: &str| {
            let machine = find(name).unwrap();
            let budget = machine.budget().unwrap();
            (budget.safe as f64 / machine.memory.unwrap() as f64, budget.most > budget.safe)
        };
        let close = |name: &str, expected: f64| {
            let (found, more) = share(name);
            assert!((found - expected).abs() < 1e-6 && more, "{name}: {found}");
        };
        close("M1 16GB", 2.0 / 3.0);
        close("M4 Max 36GB", 0.75);
        close("M4 Max 128GB", 0.75);
        close("h200", 0.95);
    }

    #[test]
    fn what_others_use_is_not_there() {
        let gib = 1u64 << 30;
        let host = |used| Machine { kind: Kind::Host, used, ..Machine::custom(Some(64 * gib), 5e10) };
        let (idle, busy) = (host(4 * gib).budget().unwrap(), host(24 * gib).budget().unwrap());
        assert_eq!(idle.safe - busy.safe, 20 * gib);
        assert_eq!(host(100 * gib).budget().unwrap().safe, 0);
    }
}
