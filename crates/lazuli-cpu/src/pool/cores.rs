//! How many workers suit this machine: one per physical core that this process may use.
//!
//! Two hardware threads of one core share the arithmetic units that the kernels keep busy, and on a hybrid processor
//! the slow cores would hold up every barrier: both are left out.

/// The number of CPUs that the process may run on (affinity and cgroup quota counted).
pub(super) fn available() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// The default number of workers: physical performance cores, within affinity and cgroup limits; at least 1.
pub fn default_threads() -> usize {
    physical_cores().unwrap_or(usize::MAX).clamp(1, available())
}

#[cfg(target_os = "linux")]
fn physical_cores() -> Option<usize> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let status = read("/proc/self/status")?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut cpus = parse_list(allowed)?;
    // Present only on hybrid x86 processors, beside `cpu_atom`.
    if let Some(fast) = read("/sys/devices/cpu_core/cpus").as_deref().and_then(parse_list) {
        let fast_only: Vec<usize> = cpus.iter().copied().filter(|cpu| fast.contains(cpu)).collect();
        if !fast_only.is_empty() {
            cpus = fast_only;
        }
    }
    let sibling_sets: Option<std::collections::BTreeSet<Vec<usize>>> = cpus
        .iter()
        .map(|cpu| read(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")))
        .map(|list| list.as_deref().and_then(parse_list))
        .collect();
    sibling_sets.map(|sets| sets.len()).filter(|&count| count > 0)
}

/// Parses the kernel's CPU lists, such as `0-3,8,10-11`.
#[cfg(target_os = "linux")]
fn parse_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        // A bound on what a damaged file could make us collect.
        if last >= 1 << 16 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(target_vendor = "apple")]
fn physical_cores() -> Option<usize> {
    use std::ffi::{CStr, c_char, c_int, c_void};
    unsafe extern "C" {
        fn sysctlbyname(
            name: *const c_char,
            old: *mut c_void,
            old_len: *mut usize,
            new: *mut c_void,
            new_len: usize,
        ) -> c_int;
    }
    let query = |name: &CStr| {
        let (mut value, mut len) = (0_i32, size_of::<i32>());
        // SAFETY: the name is a C string, `value` has the `len` bytes that the call may write, and nothing is set.
        let status = unsafe {
            sysctlbyname(name.as_ptr(), (&raw mut value).cast(), &raw mut len, std::ptr::null_mut(), 0)
        };
        (status == 0 && len == size_of::<i32>() && value > 0).then_some(value as usize)
    };
    query(c"hw.perflevel0.physicalcpu").or_else(|| query(c"hw.physicalcpu"))
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn physical_cores() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    #[test]
    fn default_is_within_what_is_available() {
        let threads = super::default_threads();
        assert!((1..=super::available()).contains(&threads), "{threads}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn cpu_lists() {
        assert_eq!(super::parse_list(" 0-2,5,7-8\n"), Some(vec![0, 1, 2, 5, 7, 8]));
        assert_eq!(super::parse_list(""), Some(vec![]));
        assert_eq!(super::parse_list("0-x"), None);
        assert_eq!(super::parse_list("0-4000000000"), None);
    }
}
