//! What the counters cost: decode steps with and without them, alternately, and the median of the ratios.
//! `cargo run --release -p chaski --example counters_cost -- MODEL [ROUNDS]`

use std::time::Instant;

use chaski::{Llm, Options};
use engine::batch::{Batch, Outputs, SeqId};

/// Steps measured at once.
const STEPS: u32 = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("the path of a model is missing")?;
    let rounds: usize = args.next().map_or(Ok(101), |text| text.parse())?;
    let mut llm = Llm::open(path.as_ref(), &Options { context: 256, ..Options::default() })?;
    let mut batch = Batch::default();
    let mut time = |paused: bool| -> Result<f64, chaski::Error> {
        llm.pause_op_counts(paused);
        llm.truncate(SeqId(0), 0)?;
        let begin = Instant::now();
        for position in 0..STEPS {
            batch.clear();
            batch.push(SeqId(0), &[position + 1], position, Outputs::Last);
            llm.step(&batch)?;
        }
        Ok(begin.elapsed().as_secs_f64())
    };
    let mut ratios = Vec::new();
    for round in 0..=rounds {
        // Which of the two goes first alternates.
        let (counted, paused) = match round % 2 {
            0 => (time(false)?, time(true)?),
            _ => {
                let paused = time(true)?;
                (time(false)?, paused)
            }
        };
        if round > 0 {
            ratios.push(counted / paused);
        }
    }
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| 100.0 * (ratios[((ratios.len() - 1) as f64 * share) as usize] - 1.0);
    println!("counters cost {:+.3} % of a decode step (quartiles {:+.3} and {:+.3})", at(0.5), at(0.25), at(0.75));
    Ok(())
}
