//! From wire fields to one engine request, whatever the door. The only place where fields are read and refused.
//!
//! | file | what it reads |
//! |---|---|
//! | `options` | lengths, stop strings, probabilities, streaming |
//! | `sampling` | sampling parameters, logit bias, the sampler |
//! | `prompt` | texts and token lists |
//! | `chat` | messages, through the chat template |
//! | `constraint` | grammars and schemas |
//! | `request` | all of it as requests of the engine |
//! | `limited_text` | ends an answer by its indentation or its time |
//! | `settings` | the same as JSON again (`generation_settings`) |

pub mod chat;
pub mod constraint;
pub mod limited_text;
pub mod options;
pub mod prompt;
pub mod request;
mod sampling;
pub mod settings;
