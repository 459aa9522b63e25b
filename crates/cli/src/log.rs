//! The log: what the program says beside its output, on standard error and, if asked, in a file.

use std::fmt::Arguments;
use std::fs::File;
use std::io::Write;
use std::time::Instant;

use anyhow::Context;

use crate::settings::Output;

/// How important a line is; the numbers are llama.cpp's (`--verbosity`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Warning = 2,
    Info = 3,
    Trace = 4,
    Debug = 5,
}

/// Writes lines of at least some importance.
pub struct Log {
    most: u8,
    prefix: bool,
    timestamps: bool,
    file: Option<File>,
    start: Instant,
}

impl Log {
    /// Opens the log file, if one is asked for.
    pub fn open(output: &Output) -> anyhow::Result<Log> {
        let create = |path: &std::path::PathBuf| File::create(path).with_context(|| path.display().to_string());
        Ok(Log {
            most: output.verbosity,
            prefix: output.log_prefix,
            timestamps: output.log_timestamps,
            file: output.log_file.as_ref().map(create).transpose()?,
            start: Instant::now(),
        })
    }

    pub fn warning(&mut self, line: Arguments<'_>) {
        self.line(Level::Warning, line);
    }

    pub fn info(&mut self, line: Arguments<'_>) {
        self.line(Level::Info, line);
    }

    pub fn trace(&mut self, line: Arguments<'_>) {
        self.line(Level::Trace, line);
    }

    /// Whether lines of this level are written.
    pub fn shows(&self, level: Level) -> bool {
        level as u8 <= self.most
    }

    fn line(&mut self, level: Level, text: Arguments<'_>) {
        if !self.shows(level) {
            return;
        }
        let mut line = String::new();
        if self.timestamps {
            line += &format!("{:.3} ", self.start.elapsed().as_secs_f64());
        }
        if self.prefix {
            line += ["W ", "I ", "T ", "D "][level as usize - Level::Warning as usize];
        } else if level == Level::Warning {
            line += "warning: ";
        }
        line += &format!("{text}\n");
        // A log that cannot be written is no reason to stop.
        let _ = std::io::stderr().write_all(line.as_bytes());
        if let Some(file) = &mut self.file {
            let _ = file.write_all(line.as_bytes());
        }
    }
}
