//! How fast this machine can read memory and multiply at most: `chaski devices --measure` measures it,
//! `bench --ops` says how much of it a kernel reaches.
//!
//! All workers run together, as kernels do; the best of some rounds counts, since everything that
//! disturbs a round makes it slower. Memory is shared with whatever else the host runs, and for moments gives
//! twice its usual rate: there the median of several such bests counts, taken some time apart.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Pool, Shard};
use crate::{Buffer, Error, Feature, Hardware};

/// What all workers reach together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceilings {
    /// Reading main memory, in 10^9 bytes per second.
    pub read_gbps: f64,
    /// Products of bytes summed in 32 bits, in 10^9 operations per second; a product and its sum are two.
    pub int8_gops: f64,
    /// Fused multiplication and addition of f32, counted alike.
    pub f32_gflops: f64,
}

/// Rounds of each measurement.
const ROUNDS: usize = 12;
/// How often memory is measured, and how long to wait in between.
const BURSTS: usize = 7;
const PAUSE: Duration = Duration::from_millis(150);
/// Passes of the arithmetic loops per round: some 20 ms.
const PASSES: u64 = 2_000_000;
/// Sums under way at once: enough to hide the latency of an instruction.
const CHAINS: usize = 12;

/// A loop of `passes` passes; returns the operations it made.
type Arithmetic = unsafe fn(passes: u64) -> u64;

impl Ceilings {
    /// Measures for about two seconds. The machine should have nothing else to do.
    ///
    /// # Errors
    /// When memory is refused or a worker fails.
    pub fn measure(pool: &mut Pool, hardware: &Hardware) -> Result<Self, Error> {
        let read_gbps = read(pool, hardware)?;
        let best = |forms: &[(Option<Feature>, Arithmetic)]| {
            forms.iter().find(|(needs, _)| needs.is_none_or(|feature| hardware.has(feature))).map(|form| form.1)
        };
        let mut rate = |form: Option<Arithmetic>| form.map_or(Ok(0.0), |form| arithmetic(pool, form));
        Ok(Self { read_gbps, int8_gops: rate(best(INT8))?, f32_gflops: rate(best(F32))? })
    }
}

/// A buffer several times as large as the caches, read from end to end.
fn read(pool: &mut Pool, hardware: &Hardware) -> Result<f64, Error> {
    const LEAST: usize = 256 << 20;
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let most = if hardware.memory_bytes == 0 { LEAST } else { (hardware.memory_bytes / 4) as usize };
    let bytes = (8 * last_cache_bytes()).max(LEAST).min(most) & !63;
    let buffer = Buffer::zeroed(bytes, "the measurement of memory")?;
    let words = buffer.len() / 8;
    let part = |shard: &Shard<'_>| {
        let range = shard.range(words, 512);
        // SAFETY: the range lies inside the buffer, and each worker has its own; any bits are a number.
        unsafe { std::slice::from_raw_parts_mut(buffer.as_ptr().cast::<u64>().add(range.start), range.len()) }
    };
    // Pages that nobody has written to are all one page of zeros, and a host may merge those that are alike.
    pool.run(&|shard| part(shard).iter_mut().zip(1u64..).for_each(|(word, nth)| *word = nth.wrapping_mul(ODD)))?;
    let sum = |shard: &Shard<'_>| {
        let mut sums = [0u64; 32];
        for words in part(shard).as_chunks::<32>().0 {
            sums.iter_mut().zip(words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
        }
        black_box(sums);
        0
    };
    let mut bursts_ns = [0.0; BURSTS];
    for burst_ns in &mut bursts_ns {
        *burst_ns = best_ns(pool, &sum)?.0;
        std::thread::sleep(PAUSE);
    }
    bursts_ns.sort_by(f64::total_cmp);
    Ok(bytes as f64 / bursts_ns[BURSTS / 2])
}

/// Rate of an arithmetic loop on all workers.
fn arithmetic(pool: &mut Pool, form: Arithmetic) -> Result<f64, Error> {
    // SAFETY: the form was chosen among those whose features the machine has.
    let (ns, ops) = best_ns(pool, &|_| unsafe { form(PASSES) })?;
    Ok(ops as f64 / ns)
}

/// Nanoseconds of the fastest round, and the sum of what the workers returned in it.
fn best_ns(pool: &mut Pool, work: &(dyn Fn(&Shard<'_>) -> u64 + Sync)) -> Result<(f64, u64), Error> {
    let (best, done) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
    pool.run(&|shard| {
        for _ in 0..ROUNDS {
            shard.barrier();
            done.store(0, Ordering::Relaxed);
            shard.barrier();
            let begin = Instant::now();
            done.fetch_add(work(shard), Ordering::Relaxed);
            shard.barrier();
            if shard.index == 0 {
                best.fetch_min(begin.elapsed().as_nanos() as u64, Ordering::Relaxed);
            }
        }
    })?;
    Ok((best.into_inner().max(1) as f64, done.into_inner()))
}

/// Bytes of the largest cache; 0 where the system does not tell.
fn last_cache_bytes() -> usize {
    let size = |index: usize| {
        let text = std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size")).ok()?;
        text.trim().strip_suffix('K')?.parse::<usize>().ok()
    };
    (0..8).map_while(size).max().unwrap_or(0) << 10
}

/// Best first.
#[cfg(target_arch = "x86_64")]
const INT8: &[(Option<Feature>, Arithmetic)] =
    &[(Some(Feature::Avx512Vnni), x86::int8_avx512vnni), (Some(Feature::Avx2), x86::int8_avx2), (None, portable_int8)];
#[cfg(target_arch = "x86_64")]
const F32: &[(Option<Feature>, Arithmetic)] =
    &[(Some(Feature::Avx512), x86::f32_avx512), (Some(Feature::Avx2), x86::f32_avx2), (None, portable_f32)];
#[cfg(not(target_arch = "x86_64"))]
const INT8: &[(Option<Feature>, Arithmetic)] = &[(None, portable_int8)];
#[cfg(not(target_arch = "x86_64"))]
const F32: &[(Option<Feature>, Arithmetic)] = &[(None, portable_f32)];

/// Whatever the compiler makes of bytes for the oldest machine.
fn portable_int8(passes: u64) -> u64 {
    let (a, b) = black_box(([3i8; 64], [5i8; 64]));
    let mut sums = [0i32; 64];
    for _ in 0..passes {
        sums.iter_mut().zip(a.iter().zip(&b)).for_each(|(sum, (&a, &b))| *sum += i32::from(a) * i32::from(b));
        black_box(&mut sums);
    }
    2 * 64 * passes
}

/// Whatever the compiler makes of f32 for the oldest machine.
fn portable_f32(passes: u64) -> u64 {
    let (a, b) = black_box((0.5f32, 0.25f32));
    let mut sums = [0f32; 32];
    for _ in 0..passes {
        sums.iter_mut().for_each(|sum| *sum = *sum * a + b);
    }
    black_box(sums);
    2 * 32 * passes
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use super::CHAINS;

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub fn int8_avx512vnni(passes: u64) -> u64 {
        let (a, b) = black_box((_mm512_set1_epi8(3), _mm512_set1_epi8(5)));
        let mut sums = [_mm512_setzero_si512(); CHAINS];
        for _ in 0..passes {
            sums.iter_mut().for_each(|sum| *sum = _mm512_dpbusd_epi32(*sum, a, b));
        }
        black_box(sums);
        2 * 64 * CHAINS as u64 * passes
    }

    #[target_feature(enable = "avx2")]
    pub fn int8_avx2(passes: u64) -> u64 {
        let (a, b) = black_box((_mm256_set1_epi8(3), _mm256_set1_epi8(5)));
        let ones = _mm256_set1_epi16(1);
        let mut sums = [_mm256_setzero_si256(); CHAINS];
        for _ in 0..passes {
            for sum in &mut sums {
                // The sum enters the product, so that nothing can be moved out of the loop.
                let pairs = _mm256_maddubs_epi16(_mm256_xor_si256(a, *sum), b);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
        black_box(sums);
        2 * 32 * CHAINS as u64 * passes
    }

    #[target_feature(enable = "avx512f")]
    pub fn f32_avx512(passes: u64) -> u64 {
        let (a, b) = black_box((_mm512_set1_ps(0.5), _mm512_set1_ps(0.25)));
        let mut sums = [_mm512_setzero_ps(); CHAINS];
        for _ in 0..passes {
            sums.iter_mut().for_each(|sum| *sum = _mm512_fmadd_ps(*sum, a, b));
        }
        black_box(sums);
        2 * 16 * CHAINS as u64 * passes
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn f32_avx2(passes: u64) -> u64 {
        let (a, b) = black_box((_mm256_set1_ps(0.5), _mm256_set1_ps(0.25)));
        let mut sums = [_mm256_setzero_ps(); CHAINS];
        for _ in 0..passes {
            sums.iter_mut().for_each(|sum| *sum = _mm256_fmadd_ps(*sum, a, b));
        }
        black_box(sums);
        2 * 8 * CHAINS as u64 * passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_runs_and_is_faster_than_nothing() {
        let hardware = Hardware::probe();
        let mut pool = Pool::new(2).unwrap();
        for (needs, form) in INT8.iter().chain(F32) {
            if needs.is_none_or(|feature| hardware.has(feature)) {
                // SAFETY: the machine has what the form needs.
                let (ns, ops) = best_ns(&mut pool, &|_| unsafe { form(1000) }).unwrap();
                assert!(ops > 0 && ns > 0.0 && ops as f64 / ns < 1e6, "{needs:?}: {ops} in {ns} ns");
            }
        }
    }
}
