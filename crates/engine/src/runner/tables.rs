//! The block tables of a batch, gathered from the cache for each step.

use kernels::{SequenceView, StepInputs};

use crate::batch::Batch;
use crate::cache::KvCache;
use crate::error::Error;

/// The block tables of a batch's sequences, as kernels read them.
pub(super) struct BlockTables {
    entries: Vec<u32>,
    views: Vec<Vec<SequenceView>>,
}

impl BlockTables {
    /// For a model with so many KV groups.
    pub(super) fn new(num_groups: usize) -> Self {
        Self { entries: Vec::new(), views: vec![Vec::new(); num_groups] }
    }

    /// Gathers the tables of the batch's sequences.
    pub(super) fn bind(&mut self, batch: &Batch, cache: &KvCache) -> Result<(), Error> {
        self.entries.clear();
        for (group, views) in self.views.iter_mut().enumerate() {
            views.clear();
            for span in &batch.spans {
                let view = cache.view(span.seq, group)?;
                let held = view.table.get(view.first_logical as usize..).unwrap_or(&[]);
                views.push(SequenceView {
                    table_start: self.entries.len(),
                    table_len: held.len(),
                    first_logical: view.first_logical,
                    context: span.context,
                    first_row: span.first_row,
                    num_rows: span.num_rows,
                });
                self.entries.extend_from_slice(held);
            }
        }
        Ok(())
    }

    /// What kernels read of `batch`.
    pub(super) fn inputs<'a>(&'a self, batch: &'a Batch) -> StepInputs<'a> {
        StepInputs {
            tokens: &batch.tokens,
            positions: &batch.positions,
            output_rows: &batch.output_rows,
            tables: &self.entries,
            views: &self.views,
            best_only: false,
        }
    }
}
