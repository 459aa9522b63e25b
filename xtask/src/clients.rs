//! Other people's clients against a running server: OpenAI's Python package, in a virtual environment under the user's
//! cache. Called by `ci`. What cannot be had here (Python, pip, the model) is skipped, and says so.

use crate::{process, python};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The client that is tested; one version, so that a run can be repeated.
const PACKAGE: &str = "openai==1.109.1";

/// Runs the client's checks against `chaski serve` with SmolLM2.
pub fn run(root: &Path) -> Result<()> {
    let Some(cache) = python::cache() else { return skip("no home directory, so no place for a virtual environment") };
    let model = cache.join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !model.exists() {
        return skip(&format!("{} is missing; `chaski pull smollm2` fetches it", model.display()));
    }
    let Some(python) = environment(&cache.join("python-openai"))? else {
        return skip(&format!("{PACKAGE} cannot be installed (no Python with venv and pip, or no package index)"));
    };
    process::run(process::cargo().args(["build", "--quiet", "--package", "cli"]).current_dir(root))?;
    let mut server = Server::start(&root.join("target/debug/chaski"), &model)?;
    let script = root.join("fixtures/wire/openai_client.py");
    process::run(Command::new(python).arg(script).arg(&server.address))?;
    server.stop()
}

fn skip(why: &str) -> Result<()> {
    println!("skipped: OpenAI's client was not run: {why}");
    Ok(())
}

/// The Python of a virtual environment with the package, made if need be; `None` when it cannot be made.
fn environment(folder: &Path) -> Result<Option<PathBuf>> {
    let program = folder.join("bin/python");
    let (name, version) = PACKAGE.split_once("==").context("the package has no version")?;
    let check = format!("import {name}, sys; sys.exit({name}.__version__ != '{version}')");
    if process::succeeds(Command::new(&program).args(["-c", &check])) {
        return Ok(Some(program));
    }
    let made = python::install(folder, PACKAGE) && process::succeeds(Command::new(&program).args(["-c", &check]));
    Ok(made.then_some(program))
}

/// A server on a free port.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(program: &Path, model: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .args(["serve", "--port", "0", "--alias", "smollm2", "--batch-invariant", "-m"])
            .arg(model)
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut lines = BufReader::new(child.stderr.take().context("no standard error")?).lines();
        for line in &mut lines {
            let line = line?;
            if let Some((_, rest)) = line.split_once("listening on ") {
                let address = rest.split([' ', ',']).next().unwrap_or(rest).to_owned();
                // What it says later must not fill the pipe.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self { child, address });
            }
        }
        bail!("{} ended before it listened", program.display())
    }

    /// Asks it to end, which it does with 0.
    fn stop(&mut self) -> Result<()> {
        process::run(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the server ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended, or to be ended because a check has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
