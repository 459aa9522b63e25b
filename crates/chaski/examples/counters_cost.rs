//! What the counters cost: one decode step with and without them, alternately, and the ratio of the medians.
//! `cargo run --release -p chaski --example counters_cost -- MODEL [ROUNDS]`

use std::time::Instant;

use chaski::{Llm, Options};
use engine::batch::{Batch, Outputs, SeqId};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("the path of a model is missing")?;
    let rounds: usize = args.next().map_or(Ok(500), |text| text.parse())?;
    let mut llm = Llm::open(path.as_ref(), &Options { context: 256, ..Options::default() })?;
    let mut batch = Batch::default();
    let mut time = |counting: bool| -> Result<f64, chaski::Error> {
        llm.pause_op_counts(!counting);
        llm.truncate(SeqId(0), 0)?;
        batch.clear();
        batch.push(SeqId(0), &[1], 0, Outputs::Last);
        let begin = Instant::now();
        llm.step(&batch)?;
        Ok(begin.elapsed().as_secs_f64())
    };
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        // There and back again, so that drift hits both alike.
        for counting in [true, false, false, true] {
            let seconds = time(counting)?;
            if counting { with.push(seconds) } else { without.push(seconds) }
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (with, without) = (median(&mut with), median(&mut without));
    let cost = 100.0 * (with / without - 1.0);
    println!(
        "a decode step takes {:.1} us, {:.1} us without counters: they cost {cost:+.3} %",
        1e6 * with,
        1e6 * without
    );
    Ok(())
}
