//! The plain truth of `embed`.

use super::Desc;
use crate::weights::decode_row;

/// Decodes one row of a table that lies as in the file, and scales it.
pub fn embed(desc: &Desc, table_row: &[u8], out: &mut [f32]) {
    decode_row(desc.table, table_row, out);
    scale(desc, out);
}

/// Multiplies a decoded row with the description's factor.
pub fn scale(desc: &Desc, row: &mut [f32]) {
    row.iter_mut().for_each(|value| *value *= desc.scale);
}
