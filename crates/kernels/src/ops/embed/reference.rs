//! The plain truth of `embed`.

use super::Desc;
use crate::weights::decode_row;

/// Decodes one row of the table and scales it.
pub fn embed(desc: &Desc, table_row: &[u8], out: &mut [f32]) {
    decode_row(desc.table, table_row, out);
    out.iter_mut().for_each(|value| *value *= desc.scale);
}
