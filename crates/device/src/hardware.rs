//! What this machine has, found once at start-up and printable (`chaski devices`).
//!
//! The only place that asks the CPU for its features; `kernels/select` is the only reader.

use std::fmt;

/// A CPU capability that a kernel variant may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// 256-bit integer SIMD with FMA and half-precision conversion (x86-64-v3).
    Avx2,
    /// 512-bit SIMD: F, BW, DQ, VL (x86-64-v4).
    Avx512,
    /// `vpdpbusd`: dot products of unsigned and signed bytes, accumulated in 32 bits.
    Avx512Vnni,
    /// `vdpbf16ps`: dot products of bfloat16 pairs.
    Avx512Bf16,
    /// A GPU of compute capability 8.0 or newer, with driver and run-time compiler.
    Cuda,
    /// cuBLASLt for it.
    CublasLt,
    /// `wgmma`: products of tensor cores that read one side out of shared memory (compute capability 9.0).
    Wgmma,
}

impl Feature {
    /// Every feature of CPUs, weakest first.
    pub const ALL: &[Feature] = &[Feature::Avx2, Feature::Avx512, Feature::Avx512Vnni, Feature::Avx512Bf16];

    /// Lower-case name as printed by `devices` and `explain`.
    pub const fn name(self) -> &'static str {
        match self {
            Feature::Avx2 => "avx2",
            Feature::Avx512 => "avx512",
            Feature::Avx512Vnni => "avx512vnni",
            Feature::Avx512Bf16 => "avx512bf16",
            Feature::Cuda => "cuda",
            Feature::CublasLt => "cublaslt",
            Feature::Wgmma => "wgmma",
        }
    }
}

/// A ceiling on the instruction set (`--isa`), so that every form can be tested on one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Portable code only.
    Scalar,
    /// Up to AVX2.
    Avx2,
    /// Up to AVX-512 without VNNI.
    Avx512,
    /// Everything the machine has.
    Native,
}

impl Isa {
    /// The values `--isa` takes.
    pub const NAMES: &[(&'static str, Isa)] =
        &[("scalar", Isa::Scalar), ("avx2", Isa::Avx2), ("avx512", Isa::Avx512), ("native", Isa::Native)];

    fn allows(self, feature: Feature) -> bool {
        match self {
            Isa::Scalar => false,
            Isa::Avx2 => feature <= Feature::Avx2,
            Isa::Avx512 => feature <= Feature::Avx512,
            Isa::Native => true,
        }
    }
}

/// The machine as kernels see it.
#[derive(Clone, Debug)]
pub struct Hardware {
    /// Marketing name of the CPU, or "unknown CPU".
    pub cpu_name: String,
    /// Logical processors this process may use.
    pub num_threads: usize,
    /// Physical cores among them, where the system tells; else `num_threads`.
    pub num_cores: usize,
    /// Main memory in bytes; 0 where the system does not tell.
    pub memory_bytes: u64,
    /// Whether the system gives memory in pages of 2 MiB to who asks for them.
    pub huge_pages: bool,
    /// Features found, after any [`Isa`] cap.
    pub features: Vec<Feature>,
}

impl Hardware {
    /// Looks at the machine.
    pub fn probe() -> Self {
        let num_threads = std::thread::available_parallelism().map_or(1, usize::from);
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            cpu_name: field(&cpuinfo, "model name").unwrap_or("unknown CPU").to_owned(),
            num_threads,
            num_cores: physical_cores(&cpuinfo).map_or(num_threads, |cores| cores.clamp(1, num_threads)),
            memory_bytes: field(&meminfo, "MemTotal")
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib * 1024),
            huge_pages: std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
                .is_ok_and(|choice| !choice.contains("[never]")),
            features: detect(),
        }
    }

    /// The same machine with everything above `isa` hidden.
    pub fn capped(mut self, isa: Isa) -> Self {
        self.features.retain(|&feature| isa.allows(feature));
        self
    }

    /// Whether `feature` may be used.
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }
}

impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let features: Vec<_> = self.features.iter().map(|feature| feature.name()).collect();
        let gib = self.memory_bytes as f64 / f64::from(1 << 30);
        write!(
            f,
            "{}: {} cores, {} threads, {gib:.1} GiB, {}",
            self.cpu_name,
            self.num_cores,
            self.num_threads,
            if features.is_empty() { "no SIMD beyond the baseline".to_owned() } else { features.join(" ") }
        )
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Vec<Feature> {
    use std::arch::is_x86_feature_detected as has;
    let avx2 = has!("avx2") && has!("fma") && has!("f16c") && has!("bmi2");
    let avx512 = avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    let found = [
        (Feature::Avx2, avx2),
        (Feature::Avx512, avx512),
        (Feature::Avx512Vnni, avx512 && has!("avx512vnni")),
        (Feature::Avx512Bf16, avx512 && has!("avx512bf16")),
    ];
    found.iter().filter(|(_, present)| *present).map(|&(feature, _)| feature).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Vec<Feature> {
    Vec::new()
}

/// First value of `name : value` in a file of the /proc kind.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// Distinct (physical id, core id) pairs of /proc/cpuinfo.
fn physical_cores(cpuinfo: &str) -> Option<usize> {
    let mut cores = std::collections::BTreeSet::new();
    for processor in cpuinfo.split("\n\n").filter(|block| !block.trim().is_empty()) {
        cores.insert((field(processor, "physical id")?.to_owned(), field(processor, "core id")?.to_owned()));
    }
    (!cores.is_empty()).then_some(cores.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_hides_what_is_above_it() {
        let machine = Hardware { features: Feature::ALL.to_vec(), ..Hardware::probe() };
        assert_eq!(machine.clone().capped(Isa::Scalar).features, []);
        assert_eq!(machine.clone().capped(Isa::Avx2).features, [Feature::Avx2]);
        assert_eq!(machine.clone().capped(Isa::Avx512).features, [Feature::Avx2, Feature::Avx512]);
        assert_eq!(machine.capped(Isa::Native).features, Feature::ALL);
    }

    #[test]
    fn hyperthreads_count_as_one_core() {
        let text = "physical id : 0\ncore id : 0\n\nphysical id : 0\ncore id : 0\n\nphysical id : 0\ncore id : 1\n";
        assert_eq!(physical_cores(text), Some(2));
        assert_eq!(physical_cores("model name : x\n"), None);
    }
}
