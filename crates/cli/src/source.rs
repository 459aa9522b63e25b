//! Where the model comes from: a path as it is, a name or a hub address through the cache. Used by every command that
//! takes a model.

use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::hub::Hub;
use crate::settings::ModelChoice;

/// The path of the chosen model's file; fetches it if it is not there yet.
pub fn resolve(choice: &ModelChoice) -> anyhow::Result<PathBuf> {
    hub(choice)?.resolve(&spec(choice)?)
}

/// The models of this machine, as the flags and the environment describe them.
pub fn hub(choice: &ModelChoice) -> anyhow::Result<Hub> {
    let root = cache_root().context("no place for a cache: set HOME, or CHASKI_CACHE to a directory")?;
    let mut hub = Hub::new(root);
    hub.offline = choice.offline;
    hub.hf_token = choice.hf_token.clone();
    hub.hf_endpoint = filled("HF_ENDPOINT");
    Ok(hub)
}

/// `$CHASKI_CACHE`, else `chaski` in the user's cache directory; `None` for a user without a home.
pub fn cache_root() -> Option<PathBuf> {
    filled("CHASKI_CACHE")
        .map(PathBuf::from)
        .or_else(|| filled("XDG_CACHE_HOME").map(|cache| PathBuf::from(cache).join("chaski")))
        .or_else(|| filled("HOME").map(|home| PathBuf::from(home).join(".cache/chaski")))
}

/// What the hub is asked for.
pub fn spec(choice: &ModelChoice) -> anyhow::Result<String> {
    match (&choice.hf_repo, &choice.hf_file, &choice.spec) {
        (Some(_), _, Some(_)) => bail!("-m and -hf both name a model; give one of them"),
        (Some(repo), None, None) => Ok(format!("hf:{repo}")),
        (Some(repo), Some(file), None) => {
            // As in llama.cpp, the file replaces a quant.
            let repo = repo.split(':').next().unwrap_or(repo);
            Ok(format!("hf:{repo}:{file}"))
        }
        (None, Some(_), _) => bail!("-hff names a file of a repository; give the repository with -hf"),
        (None, None, Some(spec)) => Ok(spec.clone()),
        (None, None, None) => {
            bail!("no model given: name one as in `chaski run smollm2`, or give -m FILE or -hf USER/REPO")
        }
    }
}

fn filled(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_make_one_address() {
        let choice = |m: Option<&str>, hf: Option<&str>, file: Option<&str>| {
            let own = |text: Option<&str>| text.map(str::to_owned);
            let choice = ModelChoice { spec: own(m), hf_repo: own(hf), hf_file: own(file), ..ModelChoice::default() };
            spec(&choice).map_err(|problem| problem.to_string())
        };
        assert_eq!(choice(Some("smollm2"), None, None), Ok("smollm2".into()));
        assert_eq!(choice(None, Some("a/b:Q8_0"), None), Ok("hf:a/b:Q8_0".into()));
        assert_eq!(choice(None, Some("a/b:Q8_0"), Some("c.gguf")), Ok("hf:a/b:c.gguf".into()));
        assert!(choice(Some("x"), Some("a/b"), None).unwrap_err().starts_with("-m and -hf"));
        assert!(choice(None, None, Some("c.gguf")).unwrap_err().starts_with("-hff"));
        assert!(choice(None, None, None).unwrap_err().starts_with("no model given"));
    }
}
