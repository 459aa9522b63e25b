//! Which tokens have a special role: by the file's keys, and else by their spelling, with the
//! spellings llama.cpp goes by. Called once, by [`super::load`].

use super::{Attributes, Vocab};

/// The tokens with a special role; `None` where the vocabulary has none for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Ends a turn of a conversation.
    pub eot: Option<u32>,
    /// Ends a message, while the turn goes on (tool calls).
    pub eom: Option<u32>,
    /// Stands for what has no token.
    pub unk: Option<u32>,
    /// Separates two texts.
    pub sep: Option<u32>,
    /// Fills up a batch.
    pub pad: Option<u32>,
    /// Stands for a hidden token.
    pub mask: Option<u32>,
    /// A line feed.
    pub nl: Option<u32>,
    /// Fill in the middle: before the prefix.
    pub fim_pre: Option<u32>,
    /// Fill in the middle: before the suffix.
    pub fim_suf: Option<u32>,
    /// Fill in the middle: before the middle.
    pub fim_mid: Option<u32>,
    /// Fill in the middle: padding.
    pub fim_pad: Option<u32>,
    /// Fill in the middle: before the name of a repository.
    pub fim_rep: Option<u32>,
    /// Fill in the middle: between files.
    pub fim_sep: Option<u32>,
}

/// A role: the keys that name its token (later ones win), its place, and the spellings that give
/// it away where no key does (earlier ones win).
type Role = (&'static [&'static str], fn(&mut SpecialTokens) -> &mut Option<u32>, &'static [&'static str]);

#[rustfmt::skip]
const ROLES: [Role; 14] = [
    (&["tokenizer.ggml.bos_token_id"], |special| &mut special.bos, &[]),
    (&["tokenizer.ggml.eos_token_id"], |special| &mut special.eos, &[]),
    (&["tokenizer.ggml.unknown_token_id"], |special| &mut special.unk, &[]),
    (&["tokenizer.ggml.seperator_token_id"], |special| &mut special.sep, &[]), // the format's own spelling
    (&["tokenizer.ggml.padding_token_id"], |special| &mut special.pad, &[]),
    (&["tokenizer.ggml.mask_token_id"], |special| &mut special.mask, &[]),
    (&["tokenizer.ggml.eot_token_id"], |special| &mut special.eot, &[
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>", "_<EOT>",
        "[EOT]", "<｜end▁of▁sentence｜>", "<end_of_utterance>",
    ]),
    (&["tokenizer.ggml.eom_token_id"], |special| &mut special.eom, &["<|eom_id|>"]),
    (&["tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"], |special| &mut special.fim_pre, &[
        "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>", "<|code_prefix|>",
        "<|prefix|>",
    ]),
    (&["tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"], |special| &mut special.fim_suf, &[
        "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>", "<|code_suffix|>",
        "<|suffix|>",
    ]),
    (&["tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id"], |special| &mut special.fim_mid, &[
        "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>", "<|code_middle|>",
        "<|middle|>",
    ]),
    (&["tokenizer.ggml.fim_pad_token_id"], |special| &mut special.fim_pad, &[
        "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]",
    ]),
    (&["tokenizer.ggml.fim_rep_token_id"], |special| &mut special.fim_rep, &[
        "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>",
    ]),
    (&["tokenizer.ggml.fim_sep_token_id"], |special| &mut special.fim_sep, &["<|file_sep|>"]),
];

/// Tokens that end generation wherever they occur in a vocabulary.
const ENDS: [&str; 22] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Tokens of the harmony format, whose text is always wanted.
const ALWAYS_SHOWN: [&str; 4] = ["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

impl Vocab {
    /// Reads the keys, then finds by spelling what they left open. `self.special` holds the
    /// defaults of the tokenizer model.
    pub(super) fn assign_roles(&mut self, metadata: &gguf::Metadata) -> Result<(), crate::Error> {
        let num_tokens = self.len();
        for (keys, place, _) in ROLES {
            let slot = place(&mut self.special);
            *slot = slot.filter(|&id| (id as usize) < num_tokens);
            for &key in keys {
                match metadata.opt_u32(key)? {
                    // How some writers say that there is none.
                    None | Some(u32::MAX) => {}
                    Some(id) if (id as usize) < num_tokens => *slot = Some(id),
                    Some(id) => return Err(crate::Error::SpecialToken { key, id, num_tokens }),
                }
            }
        }
        for (_, place, spellings) in ROLES {
            if place(&mut self.special).is_some() {
                continue;
            }
            if let Some(id) = spellings.iter().find_map(|text| self.id_of(text.as_bytes())) {
                *place(&mut self.special) = Some(id);
                self.add_attributes(id, Attributes::CONTROL);
            }
        }
        self.find_ends();
        Ok(())
    }

    /// Fills `self.eog`.
    fn find_ends(&mut self) {
        let special = self.special;
        self.eog.extend([special.fim_pad, special.fim_rep, special.fim_sep].into_iter().flatten());
        for text in ENDS {
            if let Some(id) = self.id_of(text.as_bytes()) {
                self.eog.insert(id);
                self.add_attributes(id, Attributes::CONTROL);
            }
        }
        for text in ALWAYS_SHOWN {
            if let Some(id) = self.id_of(text.as_bytes()) {
                self.attributes[id as usize] = Attributes::USER_DEFINED;
            }
        }
        self.eog.extend([special.eos, special.eot, special.eom].into_iter().flatten());

        // Where an answer ends in <|return|> or <|flush|>, <|end|> only ends a message.
        let ends = |vocab: &Vocab, text: &str| vocab.id_of(text.as_bytes()).filter(|&id| vocab.is_eog(id));
        let call = ends(self, "<|call|>").or(ends(self, "<|calls|>"));
        let last = ends(self, "<|return|>").or(ends(self, "<|flush|>"));
        if let (Some(_), Some(_), Some(end)) = (call, last, ends(self, "<|end|>")) {
            self.eog.remove(&end);
            self.attributes[end as usize] = Attributes::USER_DEFINED;
        }
        // Where there is a token like these, </s> is ordinary text (a tag).
        let other = ends(self, "<|tool_response>").or(ends(self, "<|plamo:eos|>"));
        if let (Some(_), Some(tag)) = (other, ends(self, "</s>")) {
            self.eog.remove(&tag);
            self.attributes[tag as usize] = Attributes::NORMAL;
        }
    }

    /// White space that belongs to special tokens: no key says so, llama.cpp goes by names.
    pub(super) fn assign_stripping(&mut self, name: &str, architecture: &str) {
        let name = name.to_ascii_lowercase();
        let jina = ["jina-v2-de", "jina-v2-es", "jina-v2-code"].iter().any(|pre| self.pre.contains(pre));
        if jina || ["nomic-bert-moe", "jina-bert-v3"].iter().any(|arch| architecture.contains(arch)) {
            self.strip("<mask>", Attributes::STRIP_LEFT);
        } else if name.contains("phi-3") || name.contains("phi3") {
            for id in self.partitioning() {
                self.add_attributes(id, Attributes::STRIP_RIGHT);
            }
            self.strip("</s>", Attributes::STRIP_RIGHT);
            for text in ["<unk>", "<s>", "<|endoftext|>"] {
                if let Some(id) = self.id_of(text.as_bytes()) {
                    let attributes = &mut self.attributes[id as usize];
                    *attributes = attributes.without(Attributes::STRIP_RIGHT);
                }
            }
        } else if name.contains("modern-bert") {
            self.strip("[MASK]", Attributes::STRIP_LEFT);
        }
    }

    fn strip(&mut self, text: &str, side: Attributes) {
        if let Some(id) = self.id_of(text.as_bytes()) {
            self.add_attributes(id, side);
        }
    }

    fn add_attributes(&mut self, id: u32, more: Attributes) {
        if let Some(attributes) = self.attributes.get_mut(id as usize) {
            *attributes = attributes.or(more);
        }
    }
}
