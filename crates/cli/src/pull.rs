//! `chaski pull`: fetches a model into the cache and prints where it is.

use std::io::Write;

use crate::settings::Settings;
use crate::source;

/// Fetches the model, or checks the one that is there.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let path = source::hub(&settings.model)?.pull(&source::spec(&settings.model)?)?;
    writeln!(std::io::stdout().lock(), "{}", path.display())?;
    Ok(())
}
