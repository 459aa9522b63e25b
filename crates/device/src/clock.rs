//! A clock cheap enough to be read after every step of a plan: some twenty cycles on x86-64.
//!
//! Ticks have no fixed length; whoever counts them scales them by the time that passed meanwhile. Read
//! by `kernels/launch` on one worker only, so that clocks of different cores need not agree.

/// Ticks since some moment in the past.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 CPU has the time stamp counter.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Ticks since some moment in the past.
#[cfg(not(target_arch = "x86_64"))]
pub fn ticks() -> u64 {
    use std::sync::LazyLock;
    use std::time::Instant;
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_grow_with_time() {
        let before = ticks();
        std::thread::sleep(std::time::Duration::from_millis(2));
        // Slower than 1 MHz would be too coarse for steps of microseconds.
        assert!(ticks().wrapping_sub(before) > 2_000);
    }
}
