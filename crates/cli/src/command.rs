//! The commands of `chaski`, one row each: name, what it does, what may stand beside its flags.
//! Used by `flags` (which flag is valid where, help) and by `main` (the one match).

/// A command of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Run,
    Serve,
    Bench,
    Ab,
    Diff,
    Perplexity,
    Tokenize,
    Inspect,
    Explain,
    Devices,
    Pull,
    Models,
    Techniques,
}

/// How a command looks from outside.
pub struct Row {
    pub command: Command,
    pub name: &'static str,
    pub about: &'static str,
    /// Names of the words that may follow the command, in order; all of them are optional to the parser.
    pub words: &'static [&'static str],
    pub examples: &'static [&'static str],
}

/// The commands, in the order of `chaski --help`.
pub const COMMANDS: &[Row] = &[
    Row {
        command: Command::Run,
        name: "run",
        about: "Chat in the terminal, answer one prompt, or complete a text",
        words: &["MODEL", "PROMPT"],
        examples: &[
            "chaski run smollm2                               chat; /help lists what can be typed",
            "chaski run smollm2 \"Why is the sky blue?\"        one answer",
            "chaski run -m model.gguf -no-cnv -p \"Once\" -n 64  complete a text",
        ],
    },
    Row {
        command: Command::Serve,
        name: "serve",
        about: "Serve a model over HTTP, with OpenAI's and llama-server's API",
        words: &["MODEL"],
        examples: &[
            "chaski serve smollm2                              on http://127.0.0.1:8080",
            "chaski serve -m model.gguf --port 9000 -np 16 -c 32768 --api-key SECRET",
        ],
    },
    Row {
        command: Command::Bench,
        name: "bench",
        about: "Measure prompt and generation speed, as llama-bench and llama-batched-bench do",
        words: &["MODEL"],
        examples: &[
            "chaski bench smollm2 -p 512 -n 128 -r 5",
            "chaski bench -m a.gguf,b.gguf -t 1,2,4 -d 0,4096 -o json",
            "chaski bench smollm2 -npp 128 -ntg 64 -npl 1,4,8,16   several sequences at once",
        ],
    },
    Row {
        command: Command::Ab,
        name: "ab",
        about: "Compare two configurations of a model: speed, memory, quality; and say whether the second pays",
        words: &["MODEL"],
        examples: &[
            "chaski ab smollm2                                   baseline against all stable techniques",
            "chaski ab smollm2 --b \"-ctk f32 -ctv f32\"",
            "chaski ab -m model.gguf --a \"-t 1\" --b \"-t 2\" --html report.html",
        ],
    },
    Row {
        command: Command::Diff,
        name: "diff",
        about: "Compare two places that compute a model, step by step: which is the first that is beyond its exactness",
        words: &["MODEL"],
        examples: &["chaski diff smollm2 --a cpu --b cuda", "chaski diff -m model.gguf --a cpu --b cuda --plan exact"],
    },
    Row {
        command: Command::Perplexity,
        name: "perplexity",
        about: "Perplexity of a text, or KL divergence against saved distributions, as llama-perplexity does",
        words: &["MODEL"],
        examples: &[
            "chaski perplexity smollm2 -f wiki.txt -c 512 --chunks 16",
            "chaski perplexity smollm2 --plan exact -f wiki.txt --kl-divergence-base exact.kld",
            "chaski perplexity smollm2 --kl-divergence-base exact.kld --kl-divergence",
        ],
    },
    Row {
        command: Command::Tokenize,
        name: "tokenize",
        about: "Show the tokens of a text, as llama-tokenize does",
        words: &["MODEL", "PROMPT"],
        examples: &["chaski tokenize smollm2 \"Hello world\" --ids", "chaski tokenize -m model.gguf -f text.txt"],
    },
    Row {
        command: Command::Inspect,
        name: "inspect",
        about: "Show a GGUF file: metadata, tensors, and the memory it will take",
        words: &["MODEL"],
        examples: &["chaski inspect smollm2", "chaski inspect -m model.gguf -c 8192 -o json"],
    },
    Row {
        command: Command::Explain,
        name: "explain",
        about: "Show every step of the plan: shape, kernel chosen, exactness, the reason, the runner-up",
        words: &["MODEL"],
        examples: &["chaski explain smollm2", "chaski explain smollm2 --plan exact --isa avx2 -o json"],
    },
    Row {
        command: Command::Devices,
        name: "devices",
        about: "Show what this machine has to compute with",
        words: &[],
        examples: &["chaski devices", "chaski devices -o json"],
    },
    Row {
        command: Command::Pull,
        name: "pull",
        about: "Fetch a model into the cache",
        words: &["MODEL"],
        examples: &["chaski pull smollm2", "chaski pull -hf user/repo:Q4_K_M"],
    },
    Row {
        command: Command::Models,
        name: "models",
        about: "List the models that have a short name, and those in the cache",
        words: &[],
        examples: &["chaski models"],
    },
    Row {
        command: Command::Techniques,
        name: "techniques",
        about: "List the research techniques: papers, knobs, and what becomes of each on this machine",
        words: &[],
        examples: &["chaski techniques", "chaski techniques --technique all=auto -o json"],
    },
];

/// Names under which the program is called in place of one of llama.cpp's, and the command that each means.
pub const PROGRAM_NAMES: &[(&str, &str)] = &[
    ("llama-server", "serve"),
    ("llama-cli", "run"),
    ("llama-completion", "run"),
    ("llama-bench", "bench"),
    ("llama-perplexity", "perplexity"),
    ("llama-tokenize", "tokenize"),
];

/// The command that the program's own name stands for, if it was called by one of llama.cpp's.
pub fn by_program_name(path: &str) -> Option<&'static str> {
    let name = std::path::Path::new(path).file_stem()?.to_str()?;
    PROGRAM_NAMES.iter().find(|(program, _)| *program == name).map(|(_, command)| *command)
}

/// Commands that have a name already but nothing behind it, and what to use meanwhile.
pub const NOT_YET: &[(&str, &str)] =
    &[("quantize", "there is no quantizer yet; llama-quantize writes files that chaski reads")];

impl Command {
    /// The row of the command.
    pub fn row(self) -> &'static Row {
        // The rows stand in the order of the enum; a test holds them to it.
        &COMMANDS[self as usize]
    }

    /// The command called `name`.
    pub fn by_name(name: &str) -> Option<Command> {
        COMMANDS.iter().find(|row| row.name == name).map(|row| row.command)
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commands(u16);

impl Commands {
    pub const ALL: Commands = Commands(u16::MAX);
    pub const RUN: Commands = Commands(Command::Run.bit());
    pub const SERVE: Commands = Commands(Command::Serve.bit());
    pub const BENCH: Commands = Commands(Command::Bench.bit());
    pub const AB: Commands = Commands(Command::Ab.bit());
    pub const DIFF: Commands = Commands(Command::Diff.bit());
    pub const PERPLEXITY: Commands = Commands(Command::Perplexity.bit());
    pub const TOKENIZE: Commands = Commands(Command::Tokenize.bit());
    pub const INSPECT: Commands = Commands(Command::Inspect.bit());
    pub const EXPLAIN: Commands = Commands(Command::Explain.bit());
    pub const DEVICES: Commands = Commands(Command::Devices.bit());
    pub const MODELS: Commands = Commands(Command::Models.bit());
    pub const TECHNIQUES: Commands = Commands(Command::Techniques.bit());
    /// All but `serve`, where some of llama.cpp's flags mean something that they do not elsewhere.
    pub const NOT_SERVE: Commands = Commands(!Command::Serve.bit());
    /// Commands that take a model.
    pub const WITH_MODEL: Commands =
        Commands(!(Command::Devices.bit() | Command::Models.bit() | Command::Techniques.bit()));
    /// Commands that build a plan for a model.
    pub const WITH_PLAN: Commands = Self::RUN
        .and(Self::SERVE)
        .and(Self::BENCH)
        .and(Self::AB)
        .and(Self::DIFF)
        .and(Self::PERPLEXITY)
        .and(Self::EXPLAIN);
    /// Commands that take one context size, batch size and so on (`bench` takes lists of them).
    pub const SINGLE: Commands =
        Self::RUN.and(Self::SERVE).and(Self::DIFF).and(Self::PERPLEXITY).and(Self::EXPLAIN).and(Self::INSPECT);

    pub const fn and(self, other: Commands) -> Commands {
        Commands(self.0 | other.0)
    }

    pub const fn without(self, other: Commands) -> Commands {
        Commands(self.0 & !other.0)
    }

    pub const fn has(self, command: Command) -> bool {
        self.0 & command.bit() != 0
    }

    /// The names in the set, in table order.
    pub fn names(self) -> Vec<&'static str> {
        COMMANDS.iter().filter(|row| self.has(row.command)).map(|row| row.name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_enum() {
        for (index, row) in COMMANDS.iter().enumerate() {
            assert_eq!(row.command as usize, index, "{}", row.name);
            assert_eq!(Command::by_name(row.name), Some(row.command));
        }
    }

    #[test]
    fn sets_name_their_members() {
        assert_eq!(Commands::WITH_PLAN.names(), ["run", "serve", "bench", "ab", "diff", "perplexity", "explain"]);
        assert!(!Commands::WITH_MODEL.has(Command::Devices));
    }
}
