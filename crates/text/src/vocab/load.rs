//! From metadata to a [`Vocab`]. Called by [`crate::Tokenizer::from_metadata`].

use super::{Attributes, SpecialTokens, Vocab};
use crate::Error;
use crate::alphabet;
use crate::index::{Index, MOST_STRINGS, Texts};
use crate::pretokenizer::{self, PreRow, Spelling};
use gguf::{Array, Metadata, StringArray, Value};
use std::collections::{BTreeSet, HashMap};

const MODEL: &str = "tokenizer.ggml.model";
const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const KINDS: &str = "tokenizer.ggml.token_type";

/// What the vocabulary's model and pre-tokenizer names ask for.
#[derive(Clone, Copy)]
pub(crate) enum Method {
    /// Merging by rank inside the words of a pre-tokenizer.
    Bpe(&'static PreRow),
    /// Merging by score.
    Spm,
}

/// Reads which method the file asks for: (model, pre-tokenizer, method).
fn method(metadata: &Metadata) -> Result<(String, String, Method), Error> {
    let model = metadata.opt_str(MODEL)?.ok_or(Error::MissingKey { key: MODEL })?;
    let pre = metadata.opt_str("tokenizer.ggml.pre")?.unwrap_or("");
    let row = |name: &str| {
        let row = pretokenizer::row(name).ok_or_else(|| Error::UnknownPreTokenizer { name: name.into() });
        row.map(Method::Bpe)
    };
    let method = match model {
        "llama" => Method::Spm,
        "gpt2" | "whitespace" => row(pre)?,
        "gemma4" => row("gemma4")?,
        _ => return Err(Error::UnsupportedModel { model: model.into() }),
    };
    Ok((model.into(), pre.into(), method))
}

impl Vocab {
    pub(crate) fn from_metadata(metadata: &Metadata) -> Result<(Vocab, Method), Error> {
        let (model, pre, method) = method(metadata)?;
        let tokens = metadata.strings(TOKENS)?.ok_or(Error::MissingKey { key: TOKENS })?;
        let num_tokens = tokens.len();
        if num_tokens == 0 {
            return Err(Error::Count { key: TOKENS, found: 0, most: MOST_STRINGS });
        }
        check_size(TOKENS, tokens, MOST_STRINGS)?;
        let byte_level = matches!(method, Method::Bpe(row) if row.spelling == Spelling::Bytes);
        let spelled = Spelled::new(tokens, byte_level)?;
        let flag = |key: &str, default: bool| Ok::<bool, Error>(metadata.opt_bool(key)?.unwrap_or(default));
        let (bos, eos, clean, sep) = match method {
            Method::Bpe(row) => (row.add_bos, false, row.clean_spaces, row.add_sep),
            Method::Spm => (true, false, false, false),
        };
        let mut vocab = Vocab {
            texts: spelled.texts,
            words: spelled.words,
            index: spelled.index,
            foreign: spelled.foreign,
            scores: scores(metadata, num_tokens)?,
            attributes: attributes(metadata, num_tokens)?,
            special: default_roles(&model, method),
            eog: BTreeSet::new(),
            add_bos: flag("tokenizer.ggml.add_bos_token", bos)?,
            add_eos: flag("tokenizer.ggml.add_eos_token", eos)?,
            add_sep: flag("tokenizer.ggml.add_sep_token", sep)?,
            add_space_prefix: flag("tokenizer.ggml.add_space_prefix", matches!(method, Method::Spm))?,
            clean_spaces: clean,
            model,
            pre,
        };
        if matches!(method, Method::Bpe(row) if row.spelling == Spelling::Utf8SpacesNewlines) {
            // Files of Gemma 4 deny it, the model needs it.
            vocab.add_bos = true;
        }
        vocab.assign_roles(metadata)?;
        let name = metadata.opt_str("general.name").ok().flatten().unwrap_or("");
        let architecture = metadata.opt_str("general.architecture").ok().flatten().unwrap_or("");
        vocab.assign_stripping(name, architecture);
        Ok((vocab, method))
    }

    /// Sets the line feed's token, which takes the finished tokenizer to find.
    pub(crate) fn set_newline(&mut self, id: Option<u32>) {
        self.special.nl = id.or(self.special.pad);
    }
}

/// The ids llama.cpp takes where the file names none.
fn default_roles(model: &str, method: Method) -> SpecialTokens {
    let none = SpecialTokens::default();
    match method {
        Method::Spm => SpecialTokens { bos: Some(1), eos: Some(2), unk: Some(0), ..none },
        Method::Bpe(_) if model == "gemma4" => none,
        Method::Bpe(row) => SpecialTokens { bos: row.default_bos.then_some(11), eos: Some(11), ..none },
    }
}

/// Refuses arrays that [`Texts`] and [`Index`] could not hold.
pub(crate) fn check_size(key: &'static str, strings: &StringArray, most: usize) -> Result<(), Error> {
    if strings.len() > most {
        return Err(Error::Count { key, found: strings.len(), most });
    }
    let bytes: usize = strings.iter().map(<[u8]>::len).sum();
    // Empty tokens are replaced by fillers of at most 20 bytes.
    if bytes + strings.len() * 20 > u32::MAX as usize { Err(Error::TooLong { key }) } else { Ok(()) }
}

/// The spellings of all tokens and the ways to look them up.
struct Spelled {
    texts: Texts,
    words: Option<Texts>,
    index: Index,
    foreign: HashMap<Box<[u8]>, u32>,
}

impl Spelled {
    fn new(tokens: &StringArray, byte_level: bool) -> Result<Self, Error> {
        let num_tokens = tokens.len();
        let mut spelled = Spelled {
            texts: Texts::with_capacity(num_tokens),
            words: byte_level.then(|| Texts::with_capacity(num_tokens)),
            index: Index::with_capacity(num_tokens),
            foreign: HashMap::new(),
        };
        let mut word = Vec::new();
        for (id, text) in (0u32..).zip(tokens.iter()) {
            let filler;
            let text = match text {
                [] => {
                    filler = format!("[EMPTY_{id}]");
                    filler.as_bytes()
                }
                text => text,
            };
            spelled.texts.push(text);
            let entered = match &mut spelled.words {
                None => spelled.index.insert(&spelled.texts, id),
                Some(words) => {
                    word.clear();
                    if alphabet::decode(text, &mut word) {
                        words.push(&word);
                        spelled.index.insert(words, id)
                    } else {
                        words.push(b"");
                        spelled.foreign.insert(text.into(), id).map_or(Ok(()), Err)
                    }
                }
            };
            entered.map_err(|first| {
                let text = String::from_utf8_lossy(text).into_owned();
                Error::DuplicateToken { text, first, second: id }
            })?;
        }
        Ok(spelled)
    }
}

fn scores(metadata: &Metadata, num_tokens: usize) -> Result<Vec<f32>, Error> {
    let mut scores = match metadata.get(SCORES) {
        None => return Ok(Vec::new()),
        Some(Value::Array(Array::I32(whole))) => whole.iter().map(|&score| score as f32).collect(),
        Some(_) => metadata.f32s(SCORES)?.unwrap_or_default().to_vec(),
    };
    if scores.len() < num_tokens {
        return Err(Error::Length { key: SCORES, expected: num_tokens, found: scores.len() });
    }
    scores.truncate(num_tokens);
    Ok(scores)
}

fn attributes(metadata: &Metadata, num_tokens: usize) -> Result<Vec<Attributes>, Error> {
    let Some(kinds) = metadata.i32s(KINDS)? else {
        return Ok(vec![Attributes::NORMAL; num_tokens]);
    };
    if kinds.len() < num_tokens {
        return Err(Error::Length { key: KINDS, expected: num_tokens, found: kinds.len() });
    }
    Ok(kinds.iter().take(num_tokens).map(|&kind| Attributes::from_file(kind)).collect())
}
