//! Flags that say what answers must look like. The last of them counts.

use super::{Flag, Group};
use crate::command::Commands;
use crate::settings::Form;

const GROUP: Group = Group::Sampling;
const BOTH: Commands = Commands::RUN.and(Commands::SERVE);

pub const FLAGS: &[Flag] = &[
    Flag::value(&["--grammar"], "GBNF", "grammar that answers keep to (in Lark after `%llguidance`)")
        .on(GROUP, BOTH)
        .set(|s, g| {
            s.form = Some(Form::Grammar(g.filled()?));
            Ok(())
        }),
    Flag::value(&["--grammar-file"], "FILE", "file with such a grammar").on(GROUP, BOTH).set(|s, g| {
        s.form = Some(Form::GrammarFile(g.filled()?.into()));
        Ok(())
    }),
    Flag::value(&["-j", "--json-schema"], "SCHEMA", "JSON schema of answers, e.g. {} for any object")
        .on(GROUP, BOTH)
        .set(|s, g| {
            s.form = Some(Form::Schema(g.filled()?));
            Ok(())
        }),
    Flag::value(&["-jf", "--json-schema-file"], "FILE", "file with such a schema").on(GROUP, BOTH).set(|s, g| {
        s.form = Some(Form::SchemaFile(g.filled()?.into()));
        Ok(())
    }),
    Flag::value(&["--regex"], "PATTERN", "regular expression that all of an answer matches").on(GROUP, BOTH).set(
        |s, g| {
            s.form = Some(Form::Regex(g.filled()?));
            Ok(())
        },
    ),
];
