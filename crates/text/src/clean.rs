//! What Hugging Face calls `clean_up_tokenization_spaces`: English spacing tidied after
//! detokenizing, for the vocabularies whose names ask for it. Called by [`crate::Tokenizer`].

/// Removes the space before `? ! . ,`, the spaces around a lone apostrophe, and the space before
/// `'s 'm 're 've`: three passes, each over what the one before left.
pub(crate) fn clean_spaces(text: &mut Vec<u8>) {
    pass(text, |text, at| usize::from(matches!(text[at], b'?' | b'!' | b'.' | b',')));
    pass(text, |text, at| if text[at] == b'\'' && text.get(at + 1) == Some(&b' ') { 2 } else { 0 });
    pass(text, |text, at| {
        let contraction = text[at] == b'\'' && matches!(text[at + 1..], [b's' | b'm', ..] | [b'r' | b'v', b'e', ..]);
        usize::from(contraction)
    });
}

/// Goes over the bytes that follow a space: `spaces` says how many spaces go, 1 for the one before
/// the byte, 2 for the one after it too.
fn pass(text: &mut Vec<u8>, spaces: impl Fn(&[u8], usize) -> usize) {
    let mut kept = Vec::with_capacity(text.len());
    let (mut at, mut after_space) = (0, false);
    while at < text.len() {
        let gone = if after_space { spaces(text, at) } else { 0 };
        if gone > 0 {
            kept.pop();
        }
        kept.push(text[at]);
        // A space that goes with the byte before it counts for nothing more.
        after_space = gone < 2 && text[at] == b' ';
        at += gone.max(1);
    }
    *text = kept;
}

#[cfg(test)]
mod tests {
    #[test]
    fn spaces_that_go_and_spaces_that_stay() {
        for (before, after) in [
            ("Hello , world ! Yes ?", "Hello, world! Yes?"),
            (" .", "."),
            ("a ' b", "a'b"),
            ("a ' ' b", "a'' b"),
            ("it 's we 're I 'm you 've", "it's we're I'm you've"),
            ("I 'd he 'll don 't", "I 'd he 'll don 't"),
            ("", ""),
        ] {
            let mut text = before.as_bytes().to_vec();
            super::clean_spaces(&mut text);
            assert_eq!(String::from_utf8_lossy(&text), after);
        }
    }
}
