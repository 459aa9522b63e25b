//! Every pre-tokenizer name that GGUF files carry in `tokenizer.ggml.pre`, one row for those that
//! behave alike. Names, patterns and flags are those llama.cpp knows, so that a file means the
//! same in both; [`row`] is called when a tokenizer is built.

use super::Pass::{self, Regex, Thousands, ThousandsAscii, TrailingSpace};

/// What a pre-tokenizer name decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PreRow {
    pub(crate) names: &'static [&'static str],
    pub(crate) passes: &'static [Pass],
    /// A word that is a token is that token, whatever its merges would give.
    pub(crate) ignore_merges: bool,
    /// Whether a text begins with BOS where the file does not say.
    pub(crate) add_bos: bool,
    /// Whether a text ends with the separator where the file does not say.
    pub(crate) add_sep: bool,
    /// Detokenizing removes spaces before punctuation.
    pub(crate) clean_spaces: bool,
    /// Whether BOS has llama.cpp's fallback id where the file names none.
    pub(crate) default_bos: bool,
    pub(crate) spelling: Spelling,
}

/// How the vocabulary spells bytes and spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// One printable character for each byte (GPT-2).
    Bytes,
    /// UTF-8, with `<0xXX>` tokens for what has no token.
    Utf8,
    /// As `Utf8`, with `▁` for a space (SentencePiece).
    Utf8Spaces,
    /// As `Utf8Spaces`; a word of nothing but newlines is a token where there is one.
    Utf8SpacesNewlines,
}

impl Spelling {
    /// Whether tokens spell a space `▁`.
    pub(crate) fn escapes_spaces(self) -> bool {
        matches!(self, Self::Utf8Spaces | Self::Utf8SpacesNewlines)
    }
}

/// The row of a name; an empty name is a file without one.
pub(crate) fn row(name: &str) -> Option<&'static PreRow> {
    ROWS.iter().find(|row| row.names.contains(&name))
}

const BASE: PreRow = PreRow {
    names: &[],
    passes: &[],
    ignore_merges: false,
    add_bos: false,
    add_sep: false,
    clean_spaces: true,
    default_bos: true,
    spelling: Spelling::Bytes,
};
/// Most newer vocabularies: detokenizing leaves spaces alone.
const AS_IS: PreRow = PreRow { clean_spaces: false, ..BASE };

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const SPARK: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"##;
const LETTER_CASES: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LETTER_CASES_ONE_DIGIT: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
const NEWLINES: &str = r"[^\n]+|[\n]+";
const DIGITS_3: &str = r"\p{N}{1,3}";
const CJK: &str = "[一-龥\u{3040}-ゟ゠-ヿ]+";

const STARCODER_PASSES: &[Pass] = &[Regex(r"\p{N}"), Regex(GPT2)];
const DEEPSEEK3_PASSES: &[Pass] = &[Regex(DIGITS_3), Regex(CJK), Regex(DEEPSEEK3)];

pub(super) const ROWS: &[PreRow] = &[
    PreRow {
        names: &["", "default"],
        passes: &[Regex(r"[\p{P}\$\+<=>\^~\|]+"), Regex(GPT2), Regex(r"\p{N}+"), Regex("[0-9][0-9][0-9]")],
        ..BASE
    },
    PreRow {
        names: &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "gigachat",
            "jina-v2-es",
            "jina-v2-de",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "mpt",
            "olmo",
            "jais",
            "exaone4",
        ],
        passes: &[Regex(GPT2)],
        ..BASE
    },
    PreRow { names: &["trillion", "granite-docling"], passes: &[Regex(GPT2)], ..AS_IS },
    PreRow { names: &["jina-v1-en", "jina-v2-code", "roberta-bpe"], passes: &[Regex(GPT2)], add_sep: true, ..BASE },
    PreRow {
        names: &["starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"],
        passes: STARCODER_PASSES,
        ..BASE
    },
    PreRow { names: &["smollm", "command-r"], passes: STARCODER_PASSES, ..AS_IS },
    PreRow {
        names: &[
            "llama3",
            "llama-v3",
            "llama-bpe",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        passes: &[Regex(LLAMA3)],
        ignore_merges: true,
        add_bos: true,
        ..BASE
    },
    PreRow { names: &["dbrx", "smaug-bpe"], passes: &[Regex(LLAMA3)], ..BASE },
    PreRow { names: &["chatglm-bpe"], passes: &[Regex(LLAMA3)], default_bos: false, ..BASE },
    PreRow { names: &["glm4", "glm5"], passes: &[Regex(LLAMA3)], ignore_merges: true, default_bos: false, ..BASE },
    PreRow {
        names: &["jais-2"],
        passes: &[Regex(
            r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}",
        )],
        ..BASE
    },
    PreRow {
        names: &["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "hunyuan", "grok-2", "solar-open"],
        passes: &[Regex(QWEN2)],
        ..AS_IS
    },
    PreRow { names: &["stablelm2", "megrez"], passes: &[Regex(QWEN2)], ..BASE },
    PreRow {
        names: &["qwen35"],
        passes: &[Regex(
            r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )],
        ..AS_IS
    },
    PreRow {
        names: &["ufakzeka"],
        passes: &[Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")],
        ..AS_IS
    },
    PreRow {
        names: &["minicpm5"],
        passes: &[
            Regex(DIGITS_3),
            Regex(
                r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            ),
        ],
        ignore_merges: true,
        ..BASE
    },
    PreRow { names: &["laguna"], passes: &[Regex(NEWLINES), Regex(QWEN2)], ..AS_IS },
    PreRow {
        names: &["seed-coder"],
        passes: &[Regex(
            r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
        )],
        ..AS_IS
    },
    PreRow {
        names: &["bailingmoe", "bailingmoe2", "llada-moe"],
        passes: &[Regex(
            r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        )],
        ..AS_IS
    },
    PreRow {
        names: &["exaone-moe"],
        passes: &[Regex(
            r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
        )],
        ..BASE
    },
    PreRow {
        names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
        passes: &[Regex(
            r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )],
        ..AS_IS
    },
    PreRow {
        names: &["tekken"],
        passes: &[Regex(
            r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+|[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )],
        ignore_merges: true,
        add_bos: true,
        ..AS_IS
    },
    PreRow {
        names: &["granite-embed-multi-97m"],
        passes: &[Regex(
            r"[^\r\n\p{L}\p{N}]?((?=[\p{L}\p{M}])([^a-z]))*((?=[\p{L}\p{M}])([^A-Z]))+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?((?=[\p{L}\p{M}])([^a-z]))+((?=[\p{L}\p{M}])([^A-Z]))*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )],
        ignore_merges: true,
        ..AS_IS
    },
    PreRow { names: &["tiny_aya", "cohere2moe"], passes: &[Thousands, Regex(LETTER_CASES)], ..AS_IS },
    PreRow {
        names: &["youtu"],
        passes: &[
            Regex("[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u{3040}-ゟ゠-ヿ]+"),
            Regex(LETTER_CASES_ONE_DIGIT),
        ],
        ignore_merges: true,
        ..AS_IS
    },
    PreRow {
        names: &["kimi-k2"],
        passes: &[Regex(
            r"\p{Han}+|[^\r\n\p{L}\p{N}]?\p{L-Han}+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )],
        ..AS_IS
    },
    PreRow { names: &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], passes: DEEPSEEK3_PASSES, ..AS_IS },
    PreRow { names: &["spark2_5"], passes: &[Regex(DIGITS_3), Regex(CJK), Regex(SPARK), Regex(r"\p{N}")], ..AS_IS },
    PreRow {
        names: &["afmoe"],
        passes: &[
            Thousands,
            Regex(
                // U+8C48 is what llama.cpp's pattern has in the place of U+F900.
                "[一-鿿㐀-䶿\u{8c48}-\u{faff}\u{3040}-ゟ゠-ヿ･-ﾟ⼀-\u{2fdf}เ-\u{0e7f}\u{0e80}-\u{0eff}ក-\u{17ff}က-႟ꩠ-ꩿꧠ-\u{a9ff}가-\u{d7af}ᄀ-ᇿ]+",
            ),
            Regex(DEEPSEEK3),
        ],
        ..AS_IS
    },
    PreRow {
        names: &["deepseek-llm"],
        passes: &[
            Regex(r"[\r\n]"),
            Regex(super::letters::DEEPSEEK_LLM),
            Regex(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
            TrailingSpace,
            Regex("[一-龥\u{0800}-一가-\u{d7ff}]+"),
            Regex(r"\p{N}+"),
        ],
        ..AS_IS
    },
    PreRow {
        names: &["deepseek-coder"],
        passes: &[
            Regex(r"[\r\n]"),
            Regex(r"\s?\p{L}+"),
            Regex(r"\s?\p{P}+"),
            Regex("[一-龥\u{0800}-一가-\u{d7ff}]+"),
            Regex(r"\p{N}"),
        ],
        ..AS_IS
    },
    PreRow {
        names: &["falcon"],
        passes: &[Regex(r"[\p{P}\$\+<=>\^~\|`]+"), Regex(GPT2), Regex("[0-9][0-9][0-9]")],
        ..BASE
    },
    PreRow { names: &["poro-chat"], passes: &[Regex(BLOOM)], ..AS_IS },
    PreRow { names: &["bloom", "gpt3-finnish"], passes: &[Regex(BLOOM)], ..BASE },
    PreRow { names: &["viking"], passes: &[Regex(BLOOM), Regex(r"\p{N}")], ..AS_IS },
    PreRow {
        names: &["chameleon"],
        passes: &[
            Regex("<sentinel:[0-9]+>"),
            Regex("(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"),
            Regex(r"([\t\n]|    |  )"),
            Regex(r"\p{N}"),
            Regex(r"[\p{P}!-/:-@\[-`{-~]"),
            Regex(GPT2),
        ],
        add_bos: true,
        ..AS_IS
    },
    PreRow { names: &["superbpe"], passes: &[Regex(r"\p{N}+"), ThousandsAscii], ..AS_IS },
    PreRow { names: &["whitespace"], passes: &[Regex(r"\S+")], spelling: Spelling::Utf8, ..BASE },
    PreRow {
        names: &["gemma4", "granite-embed-multi-311m"],
        passes: &[Regex(NEWLINES)],
        spelling: Spelling::Utf8SpacesNewlines,
        ..BASE
    },
    PreRow { names: &["sarvam-moe"], passes: &[Regex(NEWLINES)], spelling: Spelling::Utf8Spaces, ..AS_IS },
];
