//! What this process has used of the machine: for `--stats`.

/// Memory of this process in bytes; what the system does not tell is `None`.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryUse {
    /// The most that was resident at one time, pages of mapped model files included.
    pub peak_resident: Option<u64>,
    /// What is resident now and private to the process: mapped files do not count.
    pub private: Option<u64>,
}

impl MemoryUse {
    /// Asks the system.
    pub fn now() -> Self {
        Self { peak_resident: peak_resident(), private: private() }
    }
}

/// Bytes that this process made the system read from disks, pages of mapped files among them; `None` where the system
/// does not tell.
#[cfg(target_os = "linux")]
pub fn disk_read() -> Option<u64> {
    let io = std::fs::read_to_string("/proc/self/io").ok()?;
    io.lines().find_map(|line| line.strip_prefix("read_bytes:"))?.trim().parse().ok()
}

/// As on Linux.
#[cfg(not(target_os = "linux"))]
pub fn disk_read() -> Option<u64> {
    None
}

/// A field of `/proc/self/status` in bytes; the file has kilobytes.
#[cfg(target_os = "linux")]
fn status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kilobytes: u64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(target_os = "linux")]
fn peak_resident() -> Option<u64> {
    status("VmHWM")
}

#[cfg(target_os = "linux")]
fn private() -> Option<u64> {
    status("RssAnon")
}

#[cfg(not(target_os = "linux"))]
fn peak_resident() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};
    let most = u64::try_from(getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss()).ok()?;
    // Apple counts bytes, the BSDs kilobytes.
    Some(if cfg!(target_vendor = "apple") { most } else { most * 1024 })
}

#[cfg(not(target_os = "linux"))]
fn private() -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_system_counts_what_comes_from_disk() {
        let before = disk_read();
        // What was read stays in the system's own cache, so that nothing more may come.
        assert!(before.is_some() && disk_read() >= before);
    }

    #[test]
    fn the_system_knows_what_a_process_holds() {
        let before = MemoryUse::now();
        let held = vec![1u8; 64 << 20];
        let after = MemoryUse::now();
        assert!(held.iter().all(|&byte| byte == 1));
        assert!(
            after.private > before.private && after.peak_resident >= after.private,
            "{before:?} {after:?}"
        );
    }
}
