//! Keys fitted to a cache of codes: found when a model is opened, the same whenever and with however many workers.

use std::path::PathBuf;

use chaski::{Llm, Options};
use engine::batch::{Batch, Outputs, SeqId};
use kernels::KvType;

/// Logits after 40 tokens, in two steps, of a model whose keys have a bias; and how its keys are fitted.
fn logits(kv_type: KvType, threads: usize) -> (Vec<f32>, (usize, usize)) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/qwen2.gguf");
    let options = Options { kv_type_k: kv_type, kv_type_v: kv_type, threads, context: 256, ..Options::default() };
    let mut llm = Llm::open(&path, &options).unwrap();
    let tokens: Vec<u32> = (0..40).map(|i| 5 + i * 7 % 60).collect();
    let mut batch = Batch::default();
    batch.push(SeqId(0), &tokens[..39], 0, Outputs::None);
    llm.step(&batch).unwrap();
    batch.clear();
    batch.push(SeqId(0), &tokens[39..], 39, Outputs::Last);
    let logits = llm.step(&batch).unwrap().to_vec();
    (logits, llm.fitted_pairs())
}

#[test]
fn codes_are_fitted_and_floats_are_not() {
    let (exact, none) = logits(KvType::F32, 1);
    assert_eq!(none, (0, 0));
    for (kv_type, most) in [(KvType::Q8, 0.02), (KvType::Q4, 0.2)] {
        let (found, (with_mean, pairs)) = logits(kv_type, 1);
        // The means of random weights are small: codes of 8 bits bear them.
        assert_eq!((with_mean, pairs), if kv_type == KvType::Q4 { (16, 16) } else { (0, 16) });
        let size = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let error = size(&mut exact.iter().zip(&found).map(|(a, b)| a - b)) / size(&mut exact.iter().copied());
        assert!(error < most, "{}: {error}", kv_type.name());
        assert_eq!(logits(kv_type, 1), logits(kv_type, 2), "{}", kv_type.name());
    }
}
