//! The other side: llama.cpp as the Python package llama-cpp-python carries it, fetched with the user's own pip and built
//! once outside the repository. Called by every bench.

use super::options::Options;
use crate::process;
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "llama-cpp-python";
const VERSION: &str = "0.3.36";

/// What is left out of a build, as no bench needs it.
const SMALL: &[&str] =
    &["-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_UI=OFF"];

/// Which instructions a build may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// All that this machine has.
    Native,
    /// AVX2 with FMA, F16C and BMI2, and nothing beyond.
    Avx2,
}

/// A build of llama.cpp.
pub struct LlamaCpp {
    bin: PathBuf,
    /// What to fetch and build where a tool is missing; `None` for somebody else's build.
    own: Option<(PathBuf, Isa)>,
}

impl LlamaCpp {
    /// The build that the options name, else our own.
    pub fn get(options: &Options, isa: Isa) -> Result<LlamaCpp> {
        match &options.llama {
            Some(folder) => LlamaCpp::at(folder),
            None => {
                let home = super::cache()?.join(format!("llama.cpp-{VERSION}"));
                Ok(LlamaCpp { bin: home.join(isa.folder()).join("bin"), own: Some((home, isa)) })
            }
        }
    }

    /// A build somewhere else: its source tree, its build folder or the folder of its programs.
    fn at(folder: &Path) -> Result<LlamaCpp> {
        let places = [folder.join("build/bin"), folder.join("bin"), folder.to_owned()];
        match places.into_iter().find(|place| place.join("llama-bench").exists()) {
            Some(bin) => Ok(LlamaCpp { bin: bin.canonicalize()?, own: None }),
            None => bail!("{}: no build of llama.cpp here (llama-bench is missing)", folder.display()),
        }
    }

    /// One of its programs; fetched and built when it is not there yet.
    pub fn tool(&self, name: &str) -> Result<PathBuf> {
        let program = self.bin.join(name);
        if program.exists() {
            return Ok(program);
        }
        let Some((home, isa)) = &self.own else {
            bail!("{} has no {name}; build it there, or leave --llama out", self.bin.display());
        };
        build(home, *isa, name)?;
        ensure!(program.exists(), "the build of llama.cpp brought no {}", program.display());
        Ok(program)
    }

    /// One of its libraries; built with the programs that use it when it is not there yet.
    pub fn library(&self, name: &str) -> Result<PathBuf> {
        let library = self.tool("llama-bench")?.with_file_name(name);
        ensure!(library.exists(), "the build of llama.cpp has no {}", library.display());
        Ok(library)
    }

    /// What to call it.
    pub fn version(&self) -> String {
        match self.own {
            Some((_, Isa::Native)) => format!("{PACKAGE} {VERSION}"),
            Some((_, Isa::Avx2)) => format!("{PACKAGE} {VERSION}, built for AVX2"),
            None => "a build of llama.cpp made elsewhere".to_owned(),
        }
    }
}

impl Isa {
    fn folder(self) -> &'static str {
        match self {
            Isa::Native => "build",
            Isa::Avx2 => "build-avx2",
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Isa::Native => &["-DGGML_NATIVE=ON"],
            Isa::Avx2 => &[
                "-DGGML_NATIVE=OFF",
                "-DGGML_AVX2=ON",
                "-DGGML_FMA=ON",
                "-DGGML_F16C=ON",
                "-DGGML_BMI2=ON",
                "-DGGML_AVX512=OFF",
            ],
        }
    }
}

/// Builds one program. A build that was broken off goes on where it stopped.
fn build(home: &Path, isa: Isa, target: &str) -> Result<()> {
    let source = source(home)?;
    let folder = home.join(isa.folder());
    let tools = Tools::get(home)?;
    eprintln!("building {target} of llama.cpp in {}: minutes, once", folder.display());
    if !folder.join("build.ninja").exists() {
        let mut configure = tools.command("cmake");
        configure.arg("-S").arg(&source).arg("-B").arg(&folder);
        configure.args(["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"]).args(SMALL).args(isa.options());
        process::run(&mut configure)?;
    }
    process::run(tools.command("cmake").arg("--build").arg(&folder).args(["--target", target]))
}

/// The source tree, fetched when it is not there yet.
fn source(home: &Path) -> Result<PathBuf> {
    let source = home.join("source");
    if source.join("CMakeLists.txt").exists() {
        return Ok(source);
    }
    let arriving = home.join("arriving");
    if arriving.exists() {
        fs::remove_dir_all(&arriving).with_context(|| format!("cannot clear {}", arriving.display()))?;
    }
    fs::create_dir_all(&arriving).with_context(|| format!("cannot make {}", arriving.display()))?;
    let mut pip = pip();
    pip.args(["download", "--no-deps", "--no-binary", PACKAGE, "--dest"]).arg(&arriving);
    process::run(pip.arg(format!("{PACKAGE}=={VERSION}")))?;
    let archive = fs::read_dir(&arriving)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "gz"))
        .with_context(|| format!("pip brought no source archive of {PACKAGE}"))?;
    process::run(Command::new("python3").args(["-m", "tarfile", "-e"]).arg(&archive).arg(&arriving))?;
    // Renamed when it is complete, so that a tree that is there is whole.
    let tree = fs::read_dir(&arriving)?
        .flatten()
        .map(|entry| entry.path().join("vendor/llama.cpp"))
        .find(|tree| tree.exists())
        .with_context(|| format!("{} has no vendor/llama.cpp", archive.display()))?;
    fs::rename(&tree, &source).with_context(|| format!("cannot make {}", source.display()))?;
    fs::remove_dir_all(&arriving).with_context(|| format!("cannot clear {}", arriving.display()))?;
    Ok(source)
}

/// cmake and ninja: the machine's own, else pip's, kept beside the build.
struct Tools {
    folder: Option<PathBuf>,
}

impl Tools {
    fn get(home: &Path) -> Result<Tools> {
        let there = |name| process::succeeds(Command::new(name).arg("--version"));
        if there("cmake") && there("ninja") {
            return Ok(Tools { folder: None });
        }
        let folder = home.join("tools");
        let tools = Tools { folder: Some(folder.clone()) };
        if !["cmake", "ninja"].iter().all(|name| process::succeeds(tools.command(name).arg("--version"))) {
            process::run(pip().args(["install", "--upgrade", "--target"]).arg(&folder).args(["cmake", "ninja"]))?;
        }
        Ok(tools)
    }

    /// A command that finds both.
    fn command(&self, name: &str) -> Command {
        let Some(folder) = &self.folder else { return Command::new(name) };
        let mut command = Command::new(folder.join("bin").join(name));
        let mut path = OsString::from(folder.join("bin"));
        if let Some(usual) = std::env::var_os("PATH") {
            path.push(":");
            path.push(usual);
        }
        command.env("PATH", path).env("PYTHONPATH", folder);
        command
    }
}

fn pip() -> Command {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--disable-pip-version-check"]);
    pip
}
