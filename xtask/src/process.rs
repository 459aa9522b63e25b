//! Starting other programs, with an error that shows the command. Called by every task that runs cargo or Python.

use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};

/// Runs a command with the terminal inherited, and fails when it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    println!("$ {shown}");
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed with {status}");
    }
    Ok(())
}

/// Runs a command and returns what it printed on stdout.
pub fn capture(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed with {}", output.status);
    }
    utf8(output.stdout).with_context(|| format!("`{shown}`"))
}

/// What a program printed, as text.
pub fn utf8(output: Vec<u8>) -> Result<String> {
    String::from_utf8(output).context("it printed no UTF-8")
}

/// Whether a command can be started and succeeds, its output thrown away.
pub fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The cargo that started this program, so that toolchain overrides hold for its children too.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn show(command: &Command) -> String {
    let mut shown = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        shown.push(' ');
        shown.push_str(&arg.to_string_lossy());
    }
    shown
}
