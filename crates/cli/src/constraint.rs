//! What answers must look like, by the flags. Used by `run` and `serve`.

use anyhow::Context;
use server::Asked;
use text::grammar::Constraint;

use crate::prompt_text;
use crate::settings::Form;

/// The grammar, schema or pattern that was chosen; a file is read, a schema parsed.
pub fn chosen(form: Option<&Form>) -> anyhow::Result<Option<Asked>> {
    let read = |path: &std::path::PathBuf| {
        String::from_utf8(prompt_text::read_file(path)?).with_context(|| path.display().to_string())
    };
    let schema = |text: &str| serde_json::from_str(text).map(Constraint::Schema);
    Ok(Some(match form {
        None => return Ok(None),
        Some(Form::Grammar(text)) => Asked { name: "--grammar", constraint: Constraint::Grammar(text.clone()) },
        Some(Form::GrammarFile(path)) => Asked { name: "--grammar-file", constraint: Constraint::Grammar(read(path)?) },
        Some(Form::Schema(text)) => {
            Asked { name: "--json-schema", constraint: schema(text).context("--json-schema: not JSON")? }
        }
        Some(Form::SchemaFile(path)) => {
            let constraint = schema(&read(path)?).with_context(|| format!("{}: not JSON", path.display()))?;
            Asked { name: "--json-schema-file", constraint }
        }
        Some(Form::Regex(text)) => Asked { name: "--regex", constraint: Constraint::Regex(text.clone()) },
    }))
}
