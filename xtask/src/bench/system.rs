//! What the machine is, and whether it was left alone during a measurement (Linux; elsewhere nothing is known).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::shell;

/// A measurement is repeated when more than this share of the machine's time went to others.
const DISTURBED: f64 = 0.05;

/// Name of the processor.
pub fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let linux = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    if let Some((_, name)) = linux {
        return name.trim().to_owned();
    }
    let mac = shell::output(Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]));
    mac.map_or_else(|_| std::env::consts::ARCH.to_owned(), |name| name.trim().to_owned())
}

/// Processors that this process may use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Main memory in GiB, if it can be told.
pub fn memory_gib() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(kib.split_whitespace().next()?.parse::<u64>().ok()?.div_ceil(1 << 20))
}

/// A command that keeps to the first `threads` processors, where the system can do that.
pub fn pinned(program: &Path, threads: usize) -> Command {
    if !shell::has("taskset") {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", &format!("0-{}", threads.max(1) - 1)]).arg(program);
    command
}

/// Has the system forget what it caches of a model's files, so that whoever reads them first decides in pages of which size they
/// are cached; whether it could be asked to (GNU dd).
pub fn forget(model: &Path) -> bool {
    let files: Vec<PathBuf> = match fs::read_dir(model) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|p| p.is_file()).collect(),
        Err(_) => vec![model.to_owned()],
    };
    files.iter().all(|file| {
        let mut dd = Command::new("dd");
        dd.arg(format!("if={}", file.display())).args(["iflag=nocache", "count=0", "status=none"]);
        shell::output(&mut dd).is_ok()
    })
}

/// Times of all processors together, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    total: u64,
    idle: u64,
    stolen: u64,
}

impl Ticks {
    fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// Reads the first line of `/proc/stat`: user nice system idle iowait irq softirq steal.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let fields: Vec<u64> = line.split_whitespace().take(8).map_while(|f| f.parse().ok()).collect();
        let idle = fields.get(3)? + fields.get(4)?;
        Some(Self { total: fields.iter().sum(), idle, stolen: *fields.get(7)? })
    }
}

/// Watches what others do with the machine while one measurement runs.
#[derive(Debug)]
pub struct Watch {
    start: Option<Ticks>,
    own: f64,
    clock: Instant,
}

impl Watch {
    /// From now on.
    pub fn start() -> Self {
        Self { start: Ticks::now(), own: children_ticks(), clock: Instant::now() }
    }

    /// The share of the machine's time that went to the hypervisor and to processes that are not our children.
    pub fn disturbance(&self) -> f64 {
        let (Some(start), Some(end)) = (self.start, Ticks::now()) else { return 0.0 };
        let total = (end.total - start.total) as f64;
        if total < 1.0 || self.clock.elapsed().as_millis() < 100 {
            return 0.0;
        }
        let busy = total - (end.idle - start.idle) as f64 - (end.stolen - start.stolen) as f64;
        let others = (busy - (children_ticks() - self.own)).max(0.0);
        ((end.stolen - start.stolen) as f64 + others) / total
    }

    /// Whether the measurement should be taken again.
    pub fn disturbed(&self) -> bool {
        self.disturbance() > DISTURBED
    }
}

/// Ticks of processor time that finished children have used.
fn children_ticks() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Fields count from the closing parenthesis of the name; cutime and cstime are the 14th and 15th after it.
    let after = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    after.split_whitespace().skip(13).take(2).filter_map(|f| f.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read_from_the_first_line() {
        let stat = "cpu  10 1 5 80 4 0 0 7 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(Ticks::parse(stat), Some(Ticks { total: 107, idle: 84, stolen: 7 }));
        assert_eq!(Ticks::parse("intr 5"), None);
    }
}
