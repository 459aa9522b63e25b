//! The command line of the benches. Called by each of them.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// What the flags say.
#[derive(Debug)]
pub struct Options {
    /// Names that `chaski pull` knows, or GGUF files; empty: the bench's own choice.
    pub models: Vec<String>,
    /// Tests as llama-bench names them; empty: the bench's own choice.
    pub tests: Vec<String>,
    /// Cache types, `TYPE` or `OURS:THEIRS`.
    pub kv: Vec<(String, String)>,
    /// How many sequences at once; empty: the bench's own choice.
    pub parallel: Vec<usize>,
    pub rounds: usize,
    /// Whether rounds are added to those of the same commit, instead of taking their place.
    pub more: bool,
    /// 0: one per core.
    pub threads: usize,
    /// A build of llama.cpp to use instead of fetching one.
    pub llama: Option<PathBuf>,
    /// A built `chaski` to use instead of building this checkout.
    pub chaski: Option<PathBuf>,
    /// What that one was built from.
    pub commit: String,
    /// Where results go.
    pub out: PathBuf,
    /// Switches given, of those the bench offers, in its order.
    pub switches: Vec<&'static str>,
}

impl Options {
    /// Reads the arguments; `switches` are the flags without a value that this bench knows, `--` included.
    pub fn parse(root: &Path, args: &[&str], switches: &[&'static str]) -> Result<Options> {
        let mut options = Options {
            models: Vec::new(),
            tests: Vec::new(),
            kv: vec![("f16".into(), "f16".into())],
            parallel: Vec::new(),
            rounds: 5,
            more: false,
            threads: 0,
            llama: None,
            chaski: None,
            commit: "an unknown commit".into(),
            out: root.join("docs/generated"),
            switches: Vec::new(),
        };
        let mut given = Vec::new();
        let mut args = args.iter();
        while let Some(&name) = args.next() {
            if switches.contains(&name) {
                given.push(name);
                continue;
            }
            let mut value = || args.next().copied().with_context(|| format!("{name} needs a value"));
            match name {
                "--models" => options.models = list(value()?),
                "--tests" => options.tests = list(value()?),
                "--kv" => options.kv = list(value()?).iter().map(|pair| sides(pair)).collect(),
                "--npl" => {
                    options.parallel = list(value()?).iter().map(|item| number(name, item)).collect::<Result<_>>()?;
                }
                "--more" => options.more = true,
                "--rounds" => options.rounds = number(name, value()?)?,
                "--threads" => options.threads = number(name, value()?)?,
                "--llama" => options.llama = Some(value()?.into()),
                "--chaski" => options.chaski = Some(value()?.into()),
                "--commit" => options.commit = value()?.into(),
                "--out" => options.out = value()?.into(),
                other => bail!("unknown flag {other}"),
            }
        }
        options.switches = switches.iter().copied().filter(|switch| given.contains(switch)).collect();
        Ok(options)
    }

    /// Whether a switch was given.
    pub fn has(&self, switch: &str) -> bool {
        self.switches.contains(&switch)
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
}

fn sides(text: &str) -> (String, String) {
    let (ours, theirs) = text.split_once(':').unwrap_or((text, text));
    (ours.to_owned(), theirs.to_owned())
}

fn number(name: &str, text: &str) -> Result<usize> {
    match text.parse() {
        Ok(number) if (1..=1024).contains(&number) => Ok(number),
        _ => bail!("{name}: expected a number from 1 to 1024, got `{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_and_strangers_refused() {
        let parse = |args: &[&str]| Options::parse(Path::new("r"), args, &["--depth", "--avx2"]);
        let args = [
            "--avx2",
            "--models",
            "a,b",
            "--kv",
            "f16,q8_0:f16",
            "--rounds",
            "3",
            "--depth",
            "--llama",
            "d",
            "--npl",
            "1,8",
        ];
        let options = parse(&args).unwrap();
        assert_eq!(options.models, ["a", "b"]);
        assert_eq!(options.kv, [("f16".into(), "f16".into()), ("q8_0".into(), "f16".into())]);
        assert_eq!((options.rounds, options.threads), (3, 0));
        assert_eq!((&options.parallel[..], options.more), (&[1, 8][..], false));
        assert_eq!(options.switches, ["--depth", "--avx2"]);
        assert_eq!(options.llama, Some("d".into()));
        assert_eq!(options.out, Path::new("r/docs/generated"));
        assert!(parse(&["--types"]).unwrap_err().to_string().contains("unknown flag --types"));
        assert!(parse(&["--rounds", "0"]).is_err() && parse(&["--models"]).is_err());
    }
}
