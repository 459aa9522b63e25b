//! The main job on a real model: SmolLM2, from the cache.

mod support;

use support::{chaski, chaski_with_input, smollm2, stdout_of};

#[test]
fn it_answers_and_completes() {
    let Some(model) = smollm2() else { return };
    let words = ["run", "-m", &model, "-no-cnv", "-p", "The capital of France is", "-n", "8", "--temp", "0"];
    let text = stdout_of(&words);
    assert!(text.starts_with("The capital of France is Paris"), "{text}");
    let answer =
        chaski(&["run", &model, "What is the capital of France?", "-n", "24", "--temp", "0", "--plan", "exact"]);
    assert!(answer.code == Some(0) && answer.stdout.contains("Paris"), "{answer:?}");
    assert!(!answer.stdout.contains("<|im_"), "control tokens stay out of the text: {answer:?}");
}

#[test]
fn it_remembers_the_conversation() {
    let Some(model) = smollm2() else { return };
    let chat = chaski_with_input(
        &["run", &model, "-n", "32", "--temp", "0"],
        "The secret word is walnut.\nWhat is the secret word?\n/clear\nWhat is the secret word?\n",
    );
    assert_eq!(chat.code, Some(0), "{chat:?}");
    assert!(chat.stdout.matches("walnut").count() == 2, "told twice, then forgotten: {chat:?}");
}

#[test]
fn its_tokens_are_known() {
    let Some(model) = smollm2() else { return };
    assert_eq!(stdout_of(&["tokenize", &model, "Hello world", "--ids"]), "[19556, 905]\n");
}
