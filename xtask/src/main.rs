//! Project tasks, called as `cargo xtask TASK`: what CI runs, the house rules, generated docs and fixtures.
//!
//! Only this program and the front doors may read the environment, start other programs and write into the checkout.

#![forbid(unsafe_code)]

mod bench;
mod ci;
mod clients;
mod coverage;
mod cuda;
mod docs;
mod fixtures;
mod process;
mod python;
mod suite;
mod tidy;

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask TASK

  ci                     format, clippy, tidy, generated docs, all tests, CUDA kernels: what a change must pass
  tidy [--rules]         check the house rules; --rules lists them
  docs [--check]         write docs/generated from the program; --check fails when they are stale
  clients                other people's HTTP clients against a running server
  coverage               run the test suite once, instrumented, and print the share of lines it reached
  cuda compile           compile every CUDA kernel for every architecture (NVRTC from the system or from pip)
  cuda emulate           hold the CUDA kernels against their references on the CPU, as C++ (slow; --ops a,b --stride N)
  cuda check             hold them against their references on the GPU of this machine
  bench peers [--help]   measure Chaski and llama.cpp in turn; write docs/generated/peers.{json,md,svg}
  bench sampling [--help]
                         measure the sampler against llama.cpp's; write the figures of the technique flash_sampling
  bench serve [--help]   `chaski serve` beside llama-server; streams beside a long prompt (serve.svg)
  fixtures [--check]     write the tiny models of fixtures/; --check fails when they would differ
  fixtures --oracle DIR  as above, then take their logits from a built llama.cpp source tree";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args, &root()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[&str], root: &Path) -> Result<()> {
    match args {
        ["ci"] => ci::run(root),
        ["clients"] => clients::run(root),
        ["tidy"] => tidy::run(root),
        ["tidy", "--rules"] => tidy::list(),
        ["docs"] => docs::run(root, docs::Mode::Write),
        ["docs", "--check"] => docs::run(root, docs::Mode::Check),
        ["bench", name, args @ ..] => bench::run(root, name, args),
        ["cuda", what, args @ ..] => cuda::run(root, what, args),
        ["coverage"] => coverage::run(root),
        ["fixtures"] => fixtures::run(root, fixtures::Mode::Write),
        ["fixtures", "--check"] => fixtures::run(root, fixtures::Mode::Check),
        ["fixtures", "--oracle", library] => fixtures::run(root, fixtures::Mode::Oracle(library.into())),
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        other => bail!("unknown task `{}`\n\n{USAGE}", other.join(" ")),
    }
}

/// The root of the checkout: the folder above this package.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}
