//! The tokenizers from outside: against golden ids, against whole vocabularies, against hostile
//! files and texts.

mod golden;
mod hostile;
mod synthetic;
mod vocabularies;
