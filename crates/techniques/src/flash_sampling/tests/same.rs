//! The same as the chain, bit by bit.

use super::rows::{self, Lcg, like_a_model};
use super::{VOCABULARIES, chain_and_forms, outcome};
use engine::sampler::Candidates;

/// Chains that the technique begins.
const CHAINS: &[&str] = &[
    "",
    "temperature=0",
    "temperature=0 top_k=0 repeat_penalty=1.3",
    "samplers=top_p;temperature temperature=1.2",
    "samplers=top_p top_p=0",
    "samplers=top_p top_p=1e-9",
    "samplers=top_p top_p=0.9999999",
    "samplers=top_p top_p=1",
    "samplers=top_p;temperature top_p=0.5 min_keep=50",
    "samplers=top_p top_p=0.3 min_keep=100",
    "samplers=min_p;temperature",
    "samplers=min_p min_p=1",
    "samplers=min_p min_p=1e-30",
    "samplers=min_p min_p=0.5 min_keep=12",
    "samplers=temperature",
    "samplers=temperature temperature=1.7",
    "samplers=temperature temperature=1e-38",
    "samplers=",
    "samplers=top_k top_k=1",
    "samplers=top_k top_k=110",
    "samplers=top_k top_k=256",
    "samplers=top_k top_k=3000",
    "samplers=top_k top_k=1000000",
    "samplers=top_k;top_p top_k=600 top_p=0.999",
    "samplers=temperature;top_k;top_p;min_p temperature=0.7",
    "samplers=temperature;top_p;top_k temperature=1.4",
    "samplers=min_p;top_p;top_k;temperature min_p=0.001",
    "samplers=penalties;top_p;temperature repeat_penalty=1.2 frequency_penalty=0.3 presence_penalty=0.1 repeat_last_n=500",
    "samplers=temperature;penalties;top_p repeat_penalty=1.2 temperature=0.6",
    "samplers=top_k;penalties;temperature repeat_penalty=1.5",
    "logit_bias=3-inf logit_bias=100+5.5 logit_bias=17-2 repeat_penalty=1.1",
    "logit_bias=5+3 samplers=penalties;temperature frequency_penalty=3e38 repeat_penalty=1.2e-38",
    "top_k=60 typical_p=0.9 xtc_probability=0.5 dynatemp_range=0.3",
    "dry_multiplier=0.8 dry_allowed_length=1",
];

/// Rows of every kind under every chain, with a history, in every instruction set.
#[test]
fn every_row_and_chain() {
    for num_tokens in [111, 256, 3_000] {
        compare(num_tokens, CHAINS, &rows::all(num_tokens));
    }
}

#[test]
fn vocabularies_of_real_models() {
    for num_tokens in VOCABULARIES {
        let rows = rows::all(num_tokens);
        let few = [CHAINS[0], CHAINS[3], CHAINS[11], CHAINS[15], CHAINS[21], CHAINS[27]];
        compare(num_tokens, &few, &rows);
    }
}

fn compare(num_tokens: usize, chains: &[&str], rows: &[(&str, Vec<f32>)]) {
    let mut candidates = Candidates::new(num_tokens);
    let mut other = Candidates::new(num_tokens);
    let mut num_errors = 0;
    for chain in chains {
        let (mut plain, mut forms) = chain_and_forms(chain, num_tokens);
        let mut lcg = Lcg(num_tokens as u32);
        for (kind, row) in rows {
            let token = lcg.below(num_tokens) as u32;
            plain.accept(token);
            let want = outcome(&mut plain, &mut candidates, row);
            num_errors += usize::from(want.sampled.is_err());
            for (isa, form) in &mut forms {
                assert_eq!(form.technique(), Some("flash_sampling"), "{chain}: {:?}", form.refusals());
                form.accept(token);
                let mut got = outcome(form, &mut other, row);
                if want.left.len() == num_tokens && got.sampled == want.sampled {
                    got.left.clone_from(&want.left); // drawn from the row itself: only the token was listed
                }
                assert!(got == want, "`{chain}`, {num_tokens} tokens, row {kind}, {isa:?}: {}", differs(&got, &want));
            }
        }
    }
    assert!(num_errors >= 3 * chains.len(), "rows that have an error are among them");
}

fn differs(got: &super::Outcome, want: &super::Outcome) -> String {
    let at = got.left.iter().zip(&want.left).position(|(got, want)| got != want);
    format!(
        "{:?} of {}, not {:?} of {}; first difference {at:?}",
        got.sampled,
        got.left.len(),
        want.sampled,
        want.left.len()
    )
}

/// Many positions of one sequence: the draws agree, not only the lists.
#[test]
fn a_long_sequence() {
    let num_tokens = 5_000;
    for chain in [CHAINS[0], CHAINS[3], CHAINS[15], CHAINS[27], CHAINS[33]] {
        let (mut plain, mut forms) = chain_and_forms(chain, num_tokens);
        let (mut candidates, mut other) = (Candidates::new(num_tokens), Candidates::new(num_tokens));
        let mut tokens = std::collections::BTreeSet::new();
        for position in 0..300 {
            let row = like_a_model(position % 7, num_tokens);
            let want = plain.sample(&mut candidates, &row).unwrap();
            tokens.insert(want.token);
            plain.accept(want.token);
            for (isa, form) in &mut forms {
                let got = form.sample(&mut other, &row).unwrap();
                assert_eq!(got, want, "`{chain}` at {position}, {isa:?}");
                form.accept(got.token);
            }
        }
        assert!(tokens.len() > 20, "`{chain}` draws: {} tokens", tokens.len());
    }
}

/// A request's tokens do not hang on what else is sampled with the same buffers, nor on the order of the rows.
#[test]
fn rows_shuffled_and_batched() {
    let num_tokens = 2_000;
    let rows: Vec<Vec<f32>> = (0..6).map(|seed| like_a_model(seed, num_tokens)).collect();
    let alone: Vec<Vec<u32>> = rows.iter().map(|row| tokens_of(&[row], &[0])[0].clone()).collect();
    let all: Vec<&Vec<f32>> = rows.iter().collect();
    for order in [[0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4]] {
        let together = tokens_of(&all, &order);
        for (row, alone) in alone.iter().enumerate() {
            assert_eq!(&together[row], alone, "row {row} in order {order:?}");
        }
    }
}

/// Forty tokens for each row, the rows taken in turn.
fn tokens_of(rows: &[&Vec<f32>], order: &[usize]) -> Vec<Vec<u32>> {
    let num_tokens = rows[0].len();
    let mut candidates = Candidates::new(num_tokens);
    let (_, mut forms) = chain_and_forms("seed=9 samplers=penalties;top_p;temperature repeat_penalty=1.2", num_tokens);
    let form = forms.pop().expect("one at least").1;
    let mut samplers = vec![form; rows.len()];
    let mut tokens = vec![Vec::new(); rows.len()];
    for _ in 0..40 {
        for &row in order {
            let token = samplers[row].sample(&mut candidates, rows[row]).unwrap().token;
            samplers[row].accept(token);
            tokens[row].push(token);
        }
    }
    tokens
}

/// Chains that it cannot begin are left alone, and the stage in the way is named.
#[test]
fn refuses_by_name() {
    for (chain, stage) in [
        ("mirostat=2", "mirostat"),
        ("samplers=typ_p typical_p=0.9", "typ_p"),
        ("samplers=xtc;top_k xtc_probability=0.5", "xtc"),
        ("samplers=top_n_sigma;top_k top_n_sigma=1", "top_n_sigma"),
        ("samplers=temperature dynatemp_range=0.5", "temperature"),
        ("samplers=adaptive_p adaptive_target=0.5", "adaptive_p"),
        ("samplers=top_p min_keep=100000", "top_p"),
    ] {
        let (mut plain, mut forms) = chain_and_forms(chain, 1_000);
        let row = like_a_model(1, 1_000);
        let want = plain.sample(&mut Candidates::new(1_000), &row);
        for (_, form) in &mut forms {
            assert_eq!(form.technique(), None, "{chain}");
            let [(technique, why)] = form.refusals() else { panic!("{chain}: {:?}", form.refusals()) };
            assert!(*technique == "flash_sampling" && why.starts_with(stage), "{chain}: {why}");
            assert_eq!(form.sample(&mut Candidates::new(1_000), &row), want);
        }
    }
}
