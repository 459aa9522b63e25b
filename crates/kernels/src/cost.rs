//! What a step moves and computes: what counters turn times into rates with. Each op knows its own formula
//! (`Op::cost`); the runner sums up what its steps were asked for ([`Work`]), and `bench --ops` divides.
//!
//! A cost is linear in the work, so nothing has to be computed while steps run.

use crate::launch::RowSet;

/// The arithmetic that bounds an op.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// 32-bit floats.
    #[default]
    F32,
    /// Products of bytes, summed in 32 bits.
    Int8,
}

/// Bytes and operations of one step of a plan. An operation is a multiplication, an addition or the value
/// of a function; a product summed up counts as two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Which rows count.
    pub rows: RowSet,
    /// KV group whose keys and pairs count.
    pub group: u32,
    /// Bytes read whatever the number of rows: weights.
    pub fixed_bytes: u64,
    /// Bytes read and written per row.
    pub row_bytes: u64,
    /// Bytes read per token in reach: its key and its value for all heads.
    pub key_bytes: u64,
    /// Operations per row.
    pub row_ops: u64,
    /// Operations per row and token in its reach.
    pub pair_ops: u64,
    /// What computes them.
    pub unit: Unit,
}

/// What the steps of a plan were asked for, summed up over its runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Runs of the plan.
    pub runs: u64,
    /// Rows computed.
    pub rows: u64,
    /// Rows that yielded logits.
    pub outputs: u64,
    /// By KV group.
    pub reach: Vec<Reach>,
}

/// How far the rows of some runs looked back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Tokens that were read, once per sequence and run.
    pub keys: u64,
    /// Pairs of a row and a token it sees.
    pub pairs: u64,
}

impl Cost {
    /// Nothing yet, over `rows`; ops fill in what they have.
    pub const fn over(rows: RowSet) -> Self {
        let unit = Unit::F32;
        Self { rows, group: 0, fixed_bytes: 0, row_bytes: 0, key_bytes: 0, row_ops: 0, pair_ops: 0, unit }
    }

    /// Rows that this step computed.
    pub fn num_rows(&self, work: &Work) -> u64 {
        match self.rows {
            RowSet::Tokens => work.rows,
            RowSet::Outputs => work.outputs,
        }
    }

    /// Bytes moved for `work`.
    pub fn bytes(&self, work: &Work) -> u64 {
        self.fixed_bytes * work.runs + self.row_bytes * self.num_rows(work) + self.key_bytes * self.reach(work).keys
    }

    /// Operations for `work`.
    pub fn ops(&self, work: &Work) -> u64 {
        self.row_ops * self.num_rows(work) + self.pair_ops * self.reach(work).pairs
    }

    fn reach(&self, work: &Work) -> Reach {
        work.reach.get(self.group as usize).copied().unwrap_or_default()
    }
}

impl Reach {
    /// Adds `num_rows` rows behind `context` tokens, each of which sees `window` tokens (0: all), itself
    /// among them.
    pub fn add(&mut self, context: u32, num_rows: u32, window: u32) {
        if num_rows == 0 {
            return;
        }
        let (first, rows) = (u64::from(context) + 1, u64::from(num_rows));
        let window = if window == 0 { u64::MAX } else { u64::from(window) };
        // The first row sees `first` tokens, the next one more, and so on up to the window.
        let below = window.saturating_sub(first).min(rows);
        self.pairs += below * first + below * below.saturating_sub(1) / 2 + (rows - below) * window;
        self.keys += rows - 1 + first.min(window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reach_is_what_counting_one_by_one_gives() {
        for (context, num_rows, window) in
            [(0, 1, 0), (0, 7, 0), (5, 4, 0), (0, 9, 4), (2, 9, 4), (20, 3, 4), (3, 1, 4)]
        {
            let mut reach = Reach::default();
            reach.add(context, num_rows, window);
            let first = |position: u32| if window == 0 { 0 } else { (position + 1).saturating_sub(window) };
            let positions = context..context + num_rows;
            let pairs: u32 = positions.clone().map(|position| position + 1 - first(position)).sum();
            let keys = positions.end - first(context);
            let found = (reach.pairs, reach.keys);
            assert_eq!(found, (pairs.into(), keys.into()), "{context} {num_rows} {window}");
        }
    }

    #[test]
    fn a_cost_grows_with_the_rows_that_count() {
        let work = Work { runs: 2, rows: 10, outputs: 3, reach: vec![Reach::default(), Reach { keys: 7, pairs: 11 }] };
        let cost = Cost { fixed_bytes: 1000, row_bytes: 10, row_ops: 5, ..Cost::over(RowSet::Outputs) };
        assert_eq!((cost.bytes(&work), cost.ops(&work)), (2030, 15));
        let cost = Cost { group: 1, key_bytes: 100, pair_ops: 2, ..Cost::over(RowSet::Tokens) };
        assert_eq!((cost.bytes(&work), cost.ops(&work), cost.num_rows(&work)), (700, 22, 10));
    }
}
