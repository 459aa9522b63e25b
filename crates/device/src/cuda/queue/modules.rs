//! The kernels that a [`super::Queue`] has compiled and loaded, by source and constants, and what the compiler told of
//! them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::CString;

use cudarc::driver::sys::{self, CUfunction, CUmodule};

use super::kernel::Kernel;
use crate::cuda::error::{CudaError, check};
use crate::cuda::jit::{Constant, Jit, title};

/// What the compiler told of one source with its constants.
#[derive(Clone, Debug)]
pub struct Report {
    /// Source and constants.
    pub title: String,
    /// The assembler's log.
    pub log: String,
}

/// Kernels that were asked for.
#[derive(Default)]
pub struct Modules {
    loaded: RefCell<HashMap<ModuleKey, Module>>,
    reports: RefCell<Vec<Report>>,
}

type ModuleKey = (&'static str, Vec<Constant>);

#[derive(Default)]
struct Module {
    module: Option<CUmodule>,
    entries: Vec<(&'static str, CUfunction)>,
}

impl Modules {
    /// Compiles a kernel, and loads it where there is a device, once. Without a device there is no function.
    ///
    /// # Errors
    /// When it does not compile or the driver refuses it.
    pub fn function(&self, jit: &Jit, kernel: &Kernel<'_>, on_device: bool) -> Result<Option<CUfunction>, CudaError> {
        let mut modules = self.loaded.borrow_mut();
        let key = (kernel.source.name, kernel.constants.to_vec());
        let module = match modules.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let compiled = jit.compile(kernel.source, kernel.constants)?;
                let title = title(kernel.source, kernel.constants);
                let module = on_device.then(|| load(&compiled.cubin)).transpose();
                let module = module.map_err(|error| error.about(|| title.clone()))?;
                self.reports.borrow_mut().push(Report { title, log: compiled.log });
                entry.insert(Module { module, entries: Vec::new() })
            }
        };
        let Some(handle) = module.module else { return Ok(None) };
        if let Some((_, function)) = module.entries.iter().find(|(entry, _)| *entry == kernel.entry) {
            return Ok(Some(*function));
        }
        let name = CString::new(kernel.entry).unwrap_or_default();
        let mut function = std::ptr::null_mut();
        // SAFETY: the module is loaded; the name is terminated.
        let found = unsafe { sys::cuModuleGetFunction(&mut function, handle, name.as_ptr()) };
        check("cuModuleGetFunction", found).map_err(|error| error.about(|| kernel.entry.to_owned()))?;
        module.entries.push((kernel.entry, function));
        Ok(Some(function))
    }

    /// What was compiled since this was last asked.
    pub fn take_reports(&self) -> Vec<Report> {
        self.reports.take()
    }

    /// Unloads all modules.
    ///
    /// # Safety
    /// The context must be current, and nothing may run any more that came from here.
    pub unsafe fn unload(&mut self) {
        for module in self.loaded.get_mut().drain().filter_map(|(_, module)| module.module) {
            // SAFETY: the caller's promise; forgotten here, so unloaded once.
            let _ = unsafe { sys::cuModuleUnload(module) };
        }
    }
}

fn load(cubin: &[u8]) -> Result<CUmodule, CudaError> {
    let mut module = std::ptr::null_mut();
    // SAFETY: a context is current; the image is a whole cubin, whose size stands in its header.
    check("cuModuleLoadData", unsafe { sys::cuModuleLoadData(&mut module, cubin.as_ptr().cast()) })?;
    Ok(module)
}
