//! This machine: its processor, its memory, and what other programs use of it.

use lazuli_planner::machine::{Kind, find};
use lazuli_planner::{Budget, Machine};

use super::Calibration;

/// This machine as the planner sees it, with what a calibration found, if there was one.
pub fn host(calibration: Option<&Calibration>) -> Machine {
    let name = processor().unwrap_or_else(|| "this machine".to_owned());
    let (memory, used) = memory().map_or((None, 0), |(total, used)| (Some(total), used));
    // A chip of the tables brings its bandwidth and its GPU's arithmetic.
    let known = find(&name).ok();
    let plain = Machine {
        name: name.clone(),
        kind: Kind::Host,
        memory,
        bandwidth: (0.0, 0.0),
        operations: None,
        measured: None,
        used,
    };
    let mut machine = known.map_or(plain, |machine| Machine { memory, used, ..machine });
    if let Some(calibration) = calibration.filter(|c| c.processor == name) {
        // What was measured is the processor's, also where a GPU stands beside it.
        machine.kind = Kind::Host;
        machine.bandwidth = (calibration.bandwidth(), calibration.bandwidth());
        machine.measured = Some(calibration.measured());
    }
    machine
}

/// The part of this machine's memory that a model may use now. Cheaper than [`host`]: no table is read.
pub fn memory_budget() -> Option<Budget> {
    let (total, used) = memory()?;
    Machine { kind: Kind::Host, used, ..Machine::custom(Some(total), 0.0) }.budget()
}

/// The processor's name as the system has it.
pub(super) fn processor() -> Option<String> {
    if cfg!(target_os = "linux") {
        let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        return Some(line.split_once(':')?.1.trim().to_owned());
    }
    if cfg!(target_vendor = "apple") {
        return sysctl("machdep.cpu.brand_string");
    }
    std::env::var("PROCESSOR_IDENTIFIER").ok()
}

/// Bytes of memory, and how many of them other programs use.
fn memory() -> Option<(u64, u64)> {
    if cfg!(target_vendor = "apple") {
        return Some((sysctl("hw.memsize")?.parse().ok()?, 0));
    }
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().ok()?;
        Some(kilobytes * 1024)
    };
    let (total, available) = (field("MemTotal")?, field("MemAvailable")?);
    let used = total.saturating_sub(available);
    Some(match limit() {
        Some((most, now)) if most < total => (most, now.min(most)),
        _ => (total, used),
    })
}

/// What a container may use, and what it uses now without the cache of files.
fn limit() -> Option<(u64, u64)> {
    let read = |file: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{file}")).ok();
    let most = read("memory.max")?.trim().parse().ok()?;
    let stat = read("memory.stat")?;
    let anonymous = stat.lines().find_map(|line| line.strip_prefix("anon "))?.trim().parse().ok()?;
    Some((most, anonymous))
}

fn sysctl(name: &str) -> Option<String> {
    let output = std::process::Command::new("/usr/sbin/sysctl").args(["-n", name]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_to_plan_with() {
        let machine = host(None);
        assert!(!machine.name.is_empty());
        if cfg!(any(target_os = "linux", target_vendor = "apple")) {
            let budget = machine.budget().expect("the system says how much memory there is");
            assert!(machine.memory > Some(1 << 28) && Some(budget.safe) < machine.memory, "{budget:?}");
        }
    }
}
