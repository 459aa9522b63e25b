//! What was measured on a device so that a choice among kernels is the right one there: kept with the compiled kernels,
//! so that it is measured once and every later start chooses alike.

use std::cell::RefCell;
use std::collections::HashMap;

use super::Queue;
use crate::cuda::jit::Source;

/// Figures that were asked for, by name; `None` where there is none.
#[derive(Default)]
pub struct Figures(RefCell<HashMap<&'static str, Option<usize>>>);

/// A figure that depends on a device and on kernels.
#[derive(Clone, Copy, Debug)]
pub struct Figure {
    /// What it says, fit to name a file.
    pub name: &'static str,
    /// With other kernels it is another.
    pub source: &'static Source,
}

impl Queue {
    /// What was measured on this device, now or by an earlier process; `None` before.
    pub fn figure(&self, figure: &Figure) -> Option<usize> {
        let gpu = self.gpu()?;
        let ask = || self.jit.figure(figure.name, figure.source, &gpu.info().name);
        *self.figures.0.borrow_mut().entry(figure.name).or_insert_with(ask)
    }

    /// Keeps what was measured.
    pub fn keep_figure(&self, figure: &Figure, value: usize) {
        let Some(gpu) = self.gpu() else { return };
        self.figures.0.borrow_mut().insert(figure.name, Some(value));
        self.jit.keep_figure(figure.name, figure.source, &gpu.info().name, value);
    }
}
