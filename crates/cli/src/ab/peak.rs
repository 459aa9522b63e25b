//! The most memory that the program had in use at once, as the system counts it: `/proc` on Linux, nothing elsewhere.
//! Called by `ab`, which loads each configuration alone for it.

/// Counts the peak from now on. Where the system does not let it be reset, nothing is told at the end.
pub fn reset() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Bytes of the peak since [`reset`].
pub fn bytes() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Bytes in use now.
pub fn now() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// `VmHWM: 12345 kB`, with blanks between.
fn field(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_nothing_else() {
        let status = "Name:\tchaski\nVmPeak:\t  9 kB\nVmHWM:\t   12345 kB\nVmRSS:\tmuch\n";
        assert_eq!(field(status, "VmHWM:"), Some(12345 << 10));
        assert_eq!(field(status, "VmRSS:"), None);
        assert_eq!(field(status, "VmSwap:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_large_block_is_seen_and_forgotten() {
        let before = now().unwrap();
        let block = vec![1u8; 64 << 20];
        assert!(block.iter().step_by(4096).all(|byte| *byte == 1));
        drop(block);
        assert!(bytes().unwrap() > before + (60 << 20));
        if reset() {
            assert!(bytes().unwrap() < before + (60 << 20));
        }
    }
}
