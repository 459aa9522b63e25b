//! Runs CUDA kernels on the CPU: each source becomes a shared library by way of `shim.h` and the system's C++
//! compiler, and a launch a call into it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_void};
use std::path::PathBuf;
use std::process::Command;

use device::cuda::{CudaError, Grid, Kernel, StandIn};
use libloading::Library;

const SHIM: &str = include_str!("shim.h");

/// Compiles into a folder and keeps what it has opened.
pub struct Emulator {
    folder: PathBuf,
    opened: RefCell<HashMap<String, Library>>,
}

/// Arguments, blocks in three dimensions, threads. Returns what is wrong, or null.
type Entry = unsafe extern "C" fn(*const c_void, u32, u32, u32, u32) -> *const c_char;

impl Emulator {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, opened: RefCell::default() }
    }

    fn open(&self, kernel: &Kernel<'_>) -> Result<Library, String> {
        let text = kernel.source.parts.concat();
        let mut program = format!("{SHIM}\n{text}\n");
        for entry in entries(&text) {
            program += &format!(
                "extern \"C\" const char* run_{entry}(const void* args, unsigned x, unsigned y, unsigned z, unsigned count) \
                 {{ return emulate({entry}, args, x, y, z, count); }}\n"
            );
        }
        std::fs::create_dir_all(&self.folder).map_err(|error| error.to_string())?;
        let defines: Vec<String> = kernel.constants.iter().map(|(name, value)| format!("-D{name}={value}")).collect();
        let name = format!("{}{}", kernel.source.name, defines.join(""));
        let (source, library) = (self.folder.join(format!("{name}.cpp")), self.folder.join(format!("{name}.so")));
        if std::fs::read_to_string(&source).is_ok_and(|before| before == program) && library.exists() {
            // SAFETY: made by this from the same text; it has no start-up code.
            return unsafe { Library::new(&library) }.map_err(|error| error.to_string());
        }
        // Other processes may be at the same one: each makes its own and puts it in place whole.
        let own = |end: &str| self.folder.join(format!("{}-{name}.{end}", std::process::id()));
        let (own_source, own_library) = (own("cpp"), own("so"));
        std::fs::write(&own_source, program).map_err(|error| error.to_string())?;
        let mut compiler = Command::new("c++");
        compiler.args([
            "-std=c++17",
            "-O1",
            "-fno-strict-aliasing",
            "-ffp-contract=off",
            "-mf16c",
            "-shared",
            "-fPIC",
            // Templates of two kernels must not become one.
            "-fno-gnu-unique",
            "-w",
        ]);
        compiler.args(&defines).arg(&own_source).arg("-o").arg(&own_library);
        let output = compiler.output().map_err(|error| format!("c++: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).chars().take(2000).collect());
        }
        let placed = std::fs::rename(&own_library, &library).and_then(|()| std::fs::rename(&own_source, &source));
        placed.map_err(|error| error.to_string())?;
        // SAFETY: just made; it has no start-up code.
        unsafe { Library::new(&library) }.map_err(|error| error.to_string())
    }
}

/// Names of the kernels of a source: what stands before the bracket of their parameters.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split("extern \"C\" __global__").skip(1).filter_map(|rest| {
        let head = rest.split(" args)").next()?;
        head.rsplit_once('(')?.0.split_whitespace().last()
    })
}

impl StandIn for Emulator {
    unsafe fn launch(&self, kernel: &Kernel<'_>, grid: Grid, args: *const c_void) -> Result<(), CudaError> {
        let title = format!("{}{:?}", kernel.source.name, kernel.constants);
        let failed = |log: String| CudaError::Compile { kernel: format!("{title}::{}", kernel.entry), log };
        let mut opened = self.opened.borrow_mut();
        if !opened.contains_key(&title) {
            opened.insert(title.clone(), self.open(kernel).map_err(failed)?);
        }
        let Some(library) = opened.get(&title) else { return Ok(()) };
        let [x, y, z] = grid.blocks;
        // SAFETY: the library has that function; the caller vouches for the arguments.
        let wrong = unsafe {
            let name = format!("run_{}", kernel.entry);
            let entry = library.get::<Entry>(name.as_bytes()).map_err(|error| failed(error.to_string()))?;
            entry(args, x, y, z, grid.threads)
        };
        if wrong.is_null() {
            return Ok(());
        }
        // SAFETY: a static string of the shim.
        Err(failed(unsafe { CStr::from_ptr(wrong) }.to_string_lossy().into_owned()))
    }

    unsafe fn product_f16(&self, [m, n, k, out_stride]: [usize; 4], w: *const u16, x: *const u16, out: *mut f32) {
        // SAFETY: the caller's promise.
        let numbers = |at: *const u16, row: usize| unsafe { std::slice::from_raw_parts(at.add(row * k), k) };
        let number = |bits: &u16| half::f16::from_bits(*bits).to_f32();
        for (row, column) in (0..m).flat_map(|row| (0..n).map(move |column| (row, column))) {
            let products = numbers(x, row).iter().zip(numbers(w, column)).map(|(x, w)| number(x) * number(w));
            // SAFETY: the caller's promise.
            unsafe { *out.add(row * out_stride + column) = products.sum() };
        }
    }
}
