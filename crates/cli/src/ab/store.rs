//! Results that were kept: `CACHE/evidence`, one file for each model, machine, version, catalogue and pair of configurations.
//! Called by `ab` when it has judged.

use std::path::{Path, PathBuf};

use anyhow::Context;
use engine::technique::Technique;
use evidence::report::{Model, Report};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Verdicts kept beside the last report.
const MOST_VERDICTS: usize = 20;

/// What a result holds for. If any of it changes, it is another result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// SHA-256 of the model's file.
    pub model: String,
    pub cpu: String,
    pub cores: usize,
    pub features: String,
    pub version: String,
    /// Checksum of the techniques that there are.
    pub catalogue: String,
    /// Flags that both sides share, then those of each.
    pub shared: String,
    pub a: String,
    pub b: String,
}

/// A file of the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    key: Key,
    /// When and what, oldest first.
    verdicts: Vec<(String, String)>,
    report: Report,
}

/// What the store knew before.
#[derive(Debug, PartialEq, Eq)]
pub enum Earlier {
    Nothing,
    /// Times and verdicts, oldest first.
    Verdicts(Vec<(String, String)>),
    /// A file that is no result of this key: it will be replaced.
    Damaged(PathBuf),
}

impl Key {
    /// The file's name: enough of the model's hash to recognise it, and a hash of everything.
    fn file(&self, root: &Path) -> PathBuf {
        let everything = serde_json::to_string(self).unwrap_or_default();
        let model: String = self.model.chars().take(12).collect();
        root.join("evidence").join(format!("{model}-{}.json", &sha256(everything.as_bytes())[..16]))
    }
}

/// Keeps a report with the verdicts before it. The file is complete or not there, whatever happens meanwhile.
pub fn keep(root: &Path, key: &Key, report: &Report) -> anyhow::Result<(PathBuf, Earlier)> {
    let path = key.file(root);
    let earlier = read(&path, key);
    let mut verdicts = match &earlier {
        Earlier::Verdicts(verdicts) => verdicts.clone(),
        _ => Vec::new(),
    };
    verdicts.push((report.time.clone(), report.judgement.verdict.to_string()));
    verdicts.drain(..verdicts.len().saturating_sub(MOST_VERDICTS));
    let text = serde_json::to_string_pretty(&Kept { key: key.clone(), verdicts, report: report.clone() })?;
    write_whole(&path, text + "\n")?;
    Ok((path, earlier))
}

/// Writes a file under another name first.
pub fn write_whole(path: &Path, text: String) -> anyhow::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.partial", std::process::id()));
    let write = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&partial, text)?;
        std::fs::rename(&partial, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn read(path: &Path, key: &Key) -> Earlier {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Earlier::Nothing,
        Err(_) => return Earlier::Damaged(path.to_owned()),
    };
    match serde_json::from_str::<Kept>(&text) {
        Ok(kept) if kept.key == *key => Earlier::Verdicts(kept.verdicts),
        _ => Earlier::Damaged(path.to_owned()),
    }
}

/// A checksum over everything of the catalogue that can change what a technique does.
pub fn catalogue_checksum(catalogue: &[&Technique]) -> String {
    let mut all = String::new();
    for technique in catalogue {
        let provided: Vec<&str> = technique.variants().map(|extra| extra.variant.id()).collect();
        let forms: Vec<&str> = technique.sampler_forms().map(|form| form.id).collect();
        let knobs: Vec<String> = technique
            .knobs
            .iter()
            .map(|knob| format!("{} {} {}", knob.name, knob.kind.range(), knob.kind.default()))
            .collect();
        let (codec, repack) = (technique.kv_codec(), technique.repack());
        let (stage, exactness, needs) = (technique.stage.name(), technique.exactness, technique.needs_text());
        all += &format!(
            "{}|{stage}|{exactness}|{needs}|{provided:?}|{forms:?}|{codec:?}|{repack:?}|{knobs:?}\n",
            technique.id
        );
    }
    sha256(all.as_bytes())
}

/// The model as the report names it.
pub fn model(path: &Path) -> anyhow::Result<Model> {
    let file = path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    let parts = chaski::model_files(path);
    let mut bytes = 0;
    let mut hashes = String::new();
    for part in &parts {
        bytes += part.metadata().with_context(|| part.display().to_string())?.len();
        hashes += &crate::hub::sha256(part)?;
    }
    // A split model is known by the hashes of its parts.
    let sha256 = if parts.len() == 1 { hashes } else { sha256(hashes.as_bytes()) };
    Ok(Model { file, bytes, sha256 })
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use evidence::judge::{Judgement, Verdict};

    fn key() -> Key {
        let text = |text: &str| text.to_owned();
        Key {
            model: text("0123456789abcdef"),
            cpu: text("cpu"),
            cores: 2,
            features: text("avx2"),
            version: text("1"),
            catalogue: text("c"),
            shared: String::new(),
            a: String::new(),
            b: text("-t 1"),
        }
    }

    fn report(verdict: Verdict) -> Report {
        let model = Model { file: "m.gguf".into(), bytes: 1, sha256: "0123".into() };
        let machine = evidence::report::Machine { cpu: "cpu".into(), cores: 2, features: "avx2".into() };
        Report {
            version: "1".into(),
            time: "now".into(),
            model,
            machine,
            limits: Default::default(),
            judgement: Judgement { verdict, reasons: Vec::new(), notes: Vec::new() },
            a: Default::default(),
            b: Default::default(),
            speed: Vec::new(),
            text: evidence::report::Text { source: String::new(), chunks: 1, context: 3 },
            kld_excess: None,
            needles: Vec::new(),
        }
    }

    #[test]
    fn verdicts_pile_up_and_a_damaged_file_is_named_and_replaced() {
        let root = std::env::temp_dir().join(format!("chaski-evidence-{}", std::process::id()));
        let (path, earlier) = keep(&root, &key(), &report(Verdict::Pays)).unwrap();
        assert_eq!(earlier, Earlier::Nothing);
        let (_, earlier) = keep(&root, &key(), &report(Verdict::Unsafe)).unwrap();
        assert_eq!(earlier, Earlier::Verdicts(vec![("now".into(), "pays".into())]));
        for damage in ["{", "", "{\"key\": 1}"] {
            std::fs::write(&path, damage).unwrap();
            assert_eq!(keep(&root, &key(), &report(Verdict::Pays)).unwrap().1, Earlier::Damaged(path.clone()));
        }
        let files = std::fs::read_dir(root.join("evidence")).unwrap().count();
        assert_eq!(files, 1, "nothing partial stays");
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn everything_in_the_key_makes_another_file() {
        let file = |key: Key| key.file(Path::new("r"));
        let usual = file(key());
        assert!(usual.to_string_lossy().contains("0123456789ab-"), "{usual:?}");
        let changed = [
            Key { cpu: "other".into(), ..key() },
            Key { cores: 3, ..key() },
            Key { version: "2".into(), ..key() },
            Key { catalogue: "d".into(), ..key() },
            Key { a: "-t 1".into(), b: String::new(), ..key() },
            Key { shared: "-t 1".into(), ..key() },
        ];
        for key in changed {
            assert_ne!(file(key.clone()), usual, "{key:?}");
        }
    }

    #[test]
    fn the_checksum_knows_the_catalogue() {
        let catalogue = chaski::Options::default().catalogue;
        assert_eq!(catalogue_checksum(catalogue), catalogue_checksum(catalogue));
        assert_ne!(catalogue_checksum(catalogue), catalogue_checksum(&[]));
    }
}
