//! Kernels from source to code for one architecture, by NVRTC, through the cache on disk.

use std::ffi::{CStr, CString, c_char, c_int};

use cudarc::nvrtc::sys::{self, nvrtcProgram, nvrtcResult};

use super::cache::{KernelCache, key};
use super::error::CudaError;
use super::gpu::Arch;
use super::libraries::Libraries;

/// A source of kernels, embedded in the program as text.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Name for messages and cache files.
    pub name: &'static str,
    /// Its parts, compiled as one text: declarations that several sources share come first.
    pub parts: &'static [&'static str],
}

/// A constant that a source is specialised on, seen there as a macro.
pub type Constant = (&'static str, i64);

/// Compiles for one architecture.
#[derive(Debug)]
pub struct Jit {
    arch: Arch,
    nvrtc: Result<(i32, i32), CudaError>,
    cache: Option<KernelCache>,
}

/// Compiled code, and what the assembler told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// For `cuModuleLoadData`.
    pub cubin: Vec<u8>,
    /// The compiler's log.
    pub log: String,
}

impl Jit {
    /// A compiler for `arch`. Without NVRTC only what is in the cache can be had.
    pub fn new(libraries: &Libraries, arch: Arch, cache: Option<KernelCache>) -> Self {
        Self { arch, nvrtc: libraries.nvrtc.clone(), cache }
    }

    /// What it compiles for.
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// A figure that was measured on a device of this name with kernels of `source`; only with the cache on disk.
    pub(super) fn figure(&self, name: &str, source: &Source, gpu: &str) -> Option<usize> {
        self.cache.as_ref()?.figure(&figure_key(name, source, gpu))
    }

    /// Keeps such a figure.
    pub(super) fn keep_figure(&self, name: &str, source: &Source, gpu: &str, figure: usize) {
        if let Some(cache) = &self.cache {
            cache.keep_figure(&figure_key(name, source, gpu), figure);
        }
    }

    /// The code of `source` with these constants.
    ///
    /// # Errors
    /// [`CudaError::Compile`] with the compiler's words; [`CudaError::Missing`] without a compiler.
    pub fn compile(&self, source: &Source, constants: &[Constant]) -> Result<Compiled, CudaError> {
        let target = format!("--gpu-architecture={}", self.arch.target());
        let fixed = [target.as_str(), "--std=c++17", "--ptxas-options=-v"].map(str::to_owned);
        let defines = constants.iter().map(|(name, value)| format!("-D{name}={value}"));
        let options: Vec<String> = fixed.into_iter().chain(defines).collect();
        let version = match &self.nvrtc {
            Ok((major, minor)) => format!("{major}.{minor}"),
            Err(missing) => return Err(missing.clone()),
        };
        let text = source.parts.concat();
        let key = key(source.name, &[&version, &options.join(" "), &text]);
        if let Some(compiled) = self.cache.as_ref().and_then(|cache| cache.load(&key)) {
            return Ok(compiled);
        }
        let compiled = compile(&title(source, constants), &text, &options)?;
        if let Some(cache) = &self.cache {
            cache.store(&key, &format!("// {}\n{text}", options.join(" ")), &compiled);
        }
        Ok(compiled)
    }
}

/// Another device, another version or other kernels have other figures.
fn figure_key(name: &str, source: &Source, gpu: &str) -> String {
    key(name, &[gpu, env!("CARGO_PKG_VERSION"), &source.parts.concat()])
}

/// What messages call a source with its constants.
pub(super) fn title(source: &Source, constants: &[Constant]) -> String {
    let constants: Vec<String> = constants.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}({})", source.name, constants.join(", "))
}

fn compile(title: &str, text: &str, options: &[String]) -> Result<Compiled, CudaError> {
    let failed = |log: String| CudaError::Compile { kernel: title.to_owned(), log };
    let terminated = |text: &str| CString::new(text).map_err(|_| failed("a zero byte in the source".to_owned()));
    let (text, name) = (terminated(text)?, terminated(title)?);
    let options = options.iter().map(|option| terminated(option)).collect::<Result<Vec<_>, _>>()?;
    let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
    let mut program = Program(std::ptr::null_mut());
    // SAFETY: the library is present (a `Jit` without it does not come here); all strings are terminated and live.
    unsafe {
        let made = sys::nvrtcCreateProgram(
            &mut program.0,
            text.as_ptr(),
            name.as_ptr(),
            0,
            std::ptr::null(),
            std::ptr::null(),
        );
        succeeded(made).map_err(failed)?;
        let done = sys::nvrtcCompileProgram(program.0, pointers.len() as c_int, pointers.as_ptr());
        let log = program.log();
        succeeded(done).map_err(|status| failed(if log.is_empty() { status } else { log.clone() }))?;
        let mut size = 0;
        succeeded(sys::nvrtcGetCUBINSize(program.0, &mut size)).map_err(failed)?;
        let mut cubin = vec![0u8; size];
        succeeded(sys::nvrtcGetCUBIN(program.0, cubin.as_mut_ptr().cast())).map_err(failed)?;
        Ok(Compiled { cubin, log })
    }
}

/// Owns a program of NVRTC.
struct Program(nvrtcProgram);

impl Program {
    fn log(&self) -> String {
        let mut size = 0;
        // SAFETY: the program lives; the log is terminated and as long as told.
        unsafe {
            if sys::nvrtcGetProgramLogSize(self.0, &mut size) != nvrtcResult::NVRTC_SUCCESS || size <= 1 {
                return String::new();
            }
            let mut log = vec![0u8; size];
            if sys::nvrtcGetProgramLog(self.0, log.as_mut_ptr().cast()) != nvrtcResult::NVRTC_SUCCESS {
                return String::new();
            }
            CStr::from_bytes_until_nul(&log).map(|log| log.to_string_lossy().trim().to_owned()).unwrap_or_default()
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: made by nvrtcCreateProgram and destroyed once.
            let _ = unsafe { sys::nvrtcDestroyProgram(&mut self.0) };
        }
    }
}

fn succeeded(result: nvrtcResult) -> Result<(), String> {
    if result == nvrtcResult::NVRTC_SUCCESS { Ok(()) } else { Err(format!("{result:?}")) }
}
