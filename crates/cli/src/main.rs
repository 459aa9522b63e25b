//! The `chaski` program: reads the command line, does the command, reports a failure in one line.
//! Exit codes: 0 done, 1 failed, 2 called wrongly, 141 when the reader of standard output went away.

mod ab;
mod bench;
mod ceilings;
mod chat_template;
mod command;
mod constraint;
mod devices;
mod diff;
mod explain;
mod flags;
mod gpu;
mod hub;
mod inspect;
mod log;
mod memory;
mod model_file;
mod models;
mod op_table;
mod open;
mod perplexity;
mod prompt_text;
mod pull;
mod repack_bar;
mod run;
mod sampling;
mod serve;
mod settings;
mod source;
mod stepper;
mod techniques;
mod tokenize;
mod units;

use std::io::Write;
use std::process::ExitCode;

use command::Command;
use flags::{Action, Page, Usage};
use settings::Settings;

/// What a shell reports of a program that a closed pipe has ended.
const BROKEN_PIPE: u8 = 128 + 13;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let called = args.next().and_then(|name| command::by_program_name(name.to_str()?));
    let Some(mut words) = args.map(|word| word.into_string().ok()).collect::<Option<Vec<_>>>() else {
        eprintln!("error: the command line is not UTF-8; rename the file or use another path to it");
        return ExitCode::from(2);
    };
    words.splice(0..0, called.map(str::to_owned));
    match flags::parse(&words, &|name| std::env::var(name).ok()) {
        Ok((action, settings)) => finish(perform(action, &settings)),
        Err(Usage(problem)) => {
            eprintln!("error: {problem}");
            ExitCode::from(2)
        }
    }
}

fn perform(action: Action, settings: &Settings) -> anyhow::Result<()> {
    match action {
        Action::Do(command) => run_command(command, settings),
        Action::Help(command) => print_help(command),
        Action::Version => print(&format!("chaski {}\n", env!("CARGO_PKG_VERSION"))),
        Action::Page(Page::Flags) => print(&flags::markdown()),
        Action::Page(Page::Techniques) => print(&techniques::markdown(chaski::Options::default().catalogue)),
        Action::Page(Page::Routes) => print(&server::routes::markdown()),
        Action::Page(Page::Metrics) => print(&server::metrics::markdown()),
        Action::Completions(shell) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut flags::clap_command(), "chaski", &mut script);
            print(&String::from_utf8(script)?)
        }
    }
}

fn run_command(command: Command, settings: &Settings) -> anyhow::Result<()> {
    techniques::check(settings)?;
    match command {
        Command::Run => run::run(settings),
        Command::Serve => serve::run(settings),
        Command::Bench => bench::run(settings),
        Command::Ab => ab::run(settings),
        Command::Diff => diff::run(settings),
        Command::Perplexity => perplexity::run(settings),
        Command::Tokenize => tokenize::run(settings),
        Command::Inspect => inspect::run(settings),
        Command::Explain => explain::run(settings),
        Command::Devices => devices::run(settings),
        Command::Pull => pull::run(settings),
        Command::Models => models::run(settings),
        Command::Techniques => techniques::run(settings),
    }
}

fn print_help(command: Option<Command>) -> anyhow::Result<()> {
    let mut program = flags::clap_command();
    let page = match command.and_then(|command| program.find_subcommand_mut(command.row().name)) {
        Some(command) => command.render_help(),
        None => program.render_help(),
    };
    print(&page.to_string())
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) if is_broken_pipe(&problem) => ExitCode::from(BROKEN_PIPE),
        Err(problem) => {
            eprintln!("error: {}", one_line(&format!("{problem:#}")));
            ExitCode::FAILURE
        }
    }
}

/// Whether the reader of standard output went away: no reason to complain.
fn is_broken_pipe(problem: &anyhow::Error) -> bool {
    problem.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// Messages of libraries may span lines; ours does not.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
