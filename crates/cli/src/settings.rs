//! What the flags set: one field per thing that can be chosen, with llama.cpp's defaults. Written by the rows of
//! `flags`, read by the commands.

use std::path::PathBuf;

use chaski::GpuLayers;
use device::Isa;
use engine::technique::Switch;
use kernels::KvType;

/// All settings of one call of the program.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub model: ModelChoice,
    pub load: Load,
    pub prompt: Prompt,
    pub chat: Chat,
    pub sampling: engine::sampler::Params,
    /// What answers must look like.
    pub form: Option<Form>,
    pub output: Output,
    pub serve: Serve,
    pub bench: Bench,
    pub ab: Ab,
    pub diff: Diff,
    pub perplexity: Perplexity,
    pub tokenize: Tokenize,
    /// `devices` measures what the machine can do at most.
    pub measure: bool,
}

/// Which places `diff` compares.
#[derive(Clone, Copy, Debug)]
pub struct Diff {
    pub a: DiffPlace,
    pub b: DiffPlace,
}

/// A place that can compute a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiffPlace {
    Cpu,
    Cuda,
}

impl DiffPlace {
    /// The values that `--a` and `--b` take.
    pub const NAMES: &[(&'static str, DiffPlace)] = &[("cpu", DiffPlace::Cpu), ("cuda", DiffPlace::Cuda)];
}

impl Default for Diff {
    fn default() -> Diff {
        Diff { a: DiffPlace::Cpu, b: DiffPlace::Cuda }
    }
}

/// Which model, and from where.
#[derive(Clone, Debug, Default)]
pub struct ModelChoice {
    /// A path, a name from `chaski models`, or `hf:owner/repo:file`.
    pub spec: Option<String>,
    /// `user/repo[:quant]` of the hub.
    pub hf_repo: Option<String>,
    /// File inside `hf_repo`.
    pub hf_file: Option<String>,
    /// Access token of the hub, for private and gated repositories.
    pub hf_token: Option<String>,
    /// Never go to the network.
    pub offline: bool,
}

/// Who asks for a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpuAsked {
    /// Nobody: one is taken where it is there and has all that is asked for.
    No,
    /// `-ngl`: without one the CPU computes.
    Flag,
    /// The command itself, which has nothing to do without one.
    Command,
}

/// How the model is loaded: what the plan, the threads and the cache are made of.
#[derive(Clone, Debug)]
pub struct Load {
    pub plan: Plan,
    pub isa: Option<Isa>,
    pub repack: bool,
    /// Layers on the GPU.
    pub gpu_layers: GpuLayers,
    pub gpu_asked: GpuAsked,
    /// `--device none`.
    pub no_gpu: bool,
    /// 0: one per physical core.
    pub threads: usize,
    /// 0: what the model was trained on.
    pub context: u32,
    pub batch: usize,
    pub ubatch: usize,
    /// `None`: what the plan is used to.
    pub kv_type_k: Option<KvType>,
    pub kv_type_v: Option<KvType>,
    /// The same bits whatever else is in a step.
    pub batch_invariant: bool,
    /// Sequences in the cache at once; the context is that of all of them.
    pub num_sequences: usize,
    pub watch: engine::watch::WatchOptions,
    /// Faults put in on purpose.
    pub inject: Vec<engine::inject::Inject>,
    pub rope: model::rope::Overrides,
    pub techniques: Vec<Switch>,
    /// Each sequence may have all of the context, as far as the others leave it.
    pub kv_unified: bool,
    /// Bytes of the KV cache; `None` for what the context needs.
    pub kv_memory: Option<u64>,
    /// What one request has computed is kept for others that begin alike.
    pub cache_prompts: bool,
    /// Most requests that wait for a place.
    pub max_waiting: u32,
}

/// Which variants the plan may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    Baseline,
    Exact,
    Reference,
}

impl Plan {
    /// The values `--plan` takes.
    pub const NAMES: &[(&'static str, Plan)] =
        &[("baseline", Plan::Baseline), ("exact", Plan::Exact), ("reference", Plan::Reference)];
}

/// The text to start from, and when to stop.
#[derive(Clone, Debug)]
pub struct Prompt {
    pub source: Option<Source>,
    /// Replace `\n`, `\t`, `\x41` and the like in prompts.
    pub escape: bool,
    /// The prompt stood on the command line without a flag: answer it once.
    pub one_shot: bool,
    /// Tokens to generate; -1: until the model stops, -2: until the context is full.
    pub predict: i64,
    /// Prompt tokens that a context shift keeps; -1: all.
    pub keep: i64,
    pub context_shift: bool,
    pub reverse_prompts: Vec<String>,
    /// Run one step before the clock starts.
    pub warmup: bool,
}

/// Where the prompt's text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Text(String),
    /// One newline at its end is dropped.
    File(PathBuf),
    BinaryFile(PathBuf),
}

/// How a conversation runs.
#[derive(Clone, Debug, Default)]
pub struct Chat {
    /// `None`: if the model has a chat template.
    pub conversation: Option<bool>,
    pub single_turn: bool,
    pub system: Option<String>,
    /// Template text, or the name of a built-in one.
    pub template: Option<String>,
    pub template_file: Option<PathBuf>,
    /// JSON object of extra variables for the template.
    pub template_kwargs: serde_json::Map<String, serde_json::Value>,
    pub multiline: bool,
    /// Text back and forth without a template.
    pub interactive: bool,
    /// The same, and the first text is typed.
    pub interactive_first: bool,
    /// What stands before and behind a line that is typed there.
    pub in_prefix: String,
    pub in_suffix: String,
    pub in_prefix_bos: bool,
    /// Do not touch the terminal: no line editing, no colours.
    pub simple_io: bool,
}

/// What answers must look like, as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    Grammar(String),
    GrammarFile(PathBuf),
    /// JSON.
    Schema(String),
    SchemaFile(PathBuf),
    Regex(String),
}

/// What is printed, where and how.
#[derive(Clone, Debug)]
pub struct Output {
    pub format: Format,
    pub display_prompt: bool,
    /// Print control tokens too.
    pub special: bool,
    /// Print timings at the end.
    pub timings: bool,
    /// `None`: colours when standard output is a terminal.
    pub color: Option<bool>,
    /// llama.cpp's levels: 1 errors, 2 warnings, 3 information, 4 and 5 more and more of it.
    pub verbosity: u8,
    pub verbose_prompt: bool,
    pub log_file: Option<PathBuf>,
    pub log_prefix: bool,
    pub log_timestamps: bool,
}

/// Shape of what `bench`, `inspect`, `explain` and `devices` print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The command's own readable form.
    #[default]
    Text,
    Json,
    JsonLines,
    Csv,
}

/// What `bench` measures: every combination of the lists. A list that was not given is empty; [`Bench::or_usual`] says
/// what stands in for it.
#[derive(Clone, Debug)]
pub struct Bench {
    /// Paths, names and hub addresses.
    pub models: Vec<String>,
    /// A shape in place of models, and the type of most of its weights.
    pub shape: Option<&'static chaski::Shape>,
    pub mix: Option<(&'static str, gguf::DType)>,
    pub prompts: Vec<usize>,
    pub gens: Vec<usize>,
    /// Prompt and generation measured as one.
    pub pairs: Vec<(usize, usize)>,
    pub depths: Vec<usize>,
    pub batches: Vec<usize>,
    pub ubatches: Vec<usize>,
    pub kv_types_k: Vec<KvType>,
    pub kv_types_v: Vec<KvType>,
    pub threads: Vec<usize>,
    pub repetitions: Option<usize>,
    pub warmup: bool,
    pub progress: bool,
    pub delay_s: u64,
    /// Tell where the time of each test went.
    pub ops: bool,
    pub batched: Batched,
}

/// What `bench` measures with several sequences at once.
#[derive(Clone, Debug, Default)]
pub struct Batched {
    pub prompts: Vec<usize>,
    pub gens: Vec<usize>,
    /// Numbers of sequences.
    pub parallel: Vec<usize>,
    /// All sequences begin with the same prompt, which is computed once.
    pub shared: bool,
    /// Sequences are continued one after the other.
    pub separate: bool,
    /// Most tokens of all sequences together; what needs more is left out. 0: no limit.
    pub context: usize,
}

/// How `serve` serves. What it shares with other commands is among their settings.
#[derive(Clone, Debug)]
pub struct Serve {
    pub http: server::Config,
    /// Names of the model; its path if none.
    pub aliases: Vec<String>,
    pub tags: Vec<String>,
    /// Sequences side by side; `None` to choose.
    pub parallel: Option<usize>,
    /// `None`: if the number of sequences was not given.
    pub kv_unified: Option<bool>,
    pub kv_memory: Option<u64>,
    pub max_waiting: u32,
}

/// What `ab` compares and how it judges.
#[derive(Clone, Debug)]
pub struct Ab {
    /// Flags of the first configuration, on top of those that both share.
    pub a: Option<String>,
    /// The same of the second; `None`: every stable technique.
    pub b: Option<String>,
    pub limits: evidence::judge::Limits,
    pub prompt: usize,
    pub generate: usize,
    /// Empty to choose.
    pub depths: Vec<usize>,
    /// Empty to choose.
    pub parallel: Vec<usize>,
    pub time_s: f64,
    pub html: Option<PathBuf>,
}

/// What `perplexity` does.
#[derive(Clone, Debug, Default)]
pub struct Perplexity {
    /// 0: the whole text.
    pub chunks: usize,
    pub kl_base: Option<PathBuf>,
    pub kl_divergence: bool,
}

/// How `tokenize` reads and prints.
#[derive(Clone, Debug, Default)]
pub struct Tokenize {
    pub ids_only: bool,
    pub stdin: bool,
    pub no_bos: bool,
    pub no_parse_special: bool,
    pub show_count: bool,
}

impl Load {
    /// Element types of keys and values in the cache: f16, or f32 for the plans that judge.
    pub fn kv_types(&self) -> (KvType, KvType) {
        let usual = if self.plan == Plan::Baseline { KvType::F16 } else { KvType::F32 };
        (self.kv_type_k.unwrap_or(usual), self.kv_type_v.unwrap_or(usual))
    }
}

impl Default for Load {
    fn default() -> Load {
        Load {
            plan: Plan::Baseline,
            isa: None,
            repack: true,
            gpu_layers: GpuLayers::Fit,
            gpu_asked: GpuAsked::No,
            no_gpu: false,
            threads: 0,
            context: 0,
            batch: 2048,
            ubatch: 512,
            kv_type_k: None,
            kv_type_v: None,
            batch_invariant: false,
            num_sequences: 1,
            watch: Default::default(),
            inject: Vec::new(),
            rope: Default::default(),
            techniques: Vec::new(),
            kv_unified: true,
            kv_memory: None,
            cache_prompts: false,
            max_waiting: u32::MAX,
        }
    }
}

impl Default for Prompt {
    fn default() -> Prompt {
        Prompt {
            source: None,
            escape: true,
            one_shot: false,
            predict: -1,
            keep: 0,
            context_shift: false,
            reverse_prompts: Vec::new(),
            warmup: false,
        }
    }
}

impl Default for Output {
    fn default() -> Output {
        Output {
            format: Format::Text,
            display_prompt: true,
            special: false,
            timings: true,
            color: None,
            verbosity: 3,
            verbose_prompt: false,
            log_file: None,
            log_prefix: false,
            log_timestamps: false,
        }
    }
}

impl Default for Serve {
    fn default() -> Serve {
        Serve {
            http: server::Config::default(),
            aliases: Vec::new(),
            tags: Vec::new(),
            parallel: None,
            kv_unified: None,
            kv_memory: None,
            max_waiting: 1024,
        }
    }
}

impl Default for Bench {
    fn default() -> Bench {
        Bench {
            models: Vec::new(),
            shape: None,
            mix: None,
            prompts: Vec::new(),
            gens: Vec::new(),
            pairs: Vec::new(),
            depths: Vec::new(),
            batches: Vec::new(),
            ubatches: Vec::new(),
            kv_types_k: Vec::new(),
            kv_types_v: Vec::new(),
            threads: Vec::new(),
            repetitions: None,
            warmup: true,
            progress: false,
            delay_s: 0,
            ops: false,
            batched: Batched::default(),
        }
    }
}

impl Default for Ab {
    fn default() -> Ab {
        Ab {
            a: None,
            b: None,
            limits: Default::default(),
            prompt: 512,
            generate: 8,
            depths: Vec::new(),
            parallel: Vec::new(),
            time_s: 80.0,
            html: None,
        }
    }
}

impl Bench {
    /// The list that was given, else llama-bench's own.
    pub fn or_usual<T: Copy>(given: &[T], usual: T) -> Vec<T> {
        if given.is_empty() { vec![usual] } else { given.to_vec() }
    }
}

impl Batched {
    /// Whether several sequences are to be measured.
    pub fn is_asked(&self) -> bool {
        !(self.prompts.is_empty() && self.gens.is_empty() && self.parallel.is_empty())
    }
}

impl Chat {
    pub fn is_interactive(&self) -> bool {
        self.interactive || self.interactive_first
    }

    pub fn is_framed(&self) -> bool {
        !self.in_prefix.is_empty() || !self.in_suffix.is_empty() || self.in_prefix_bos
    }
}

impl Settings {
    /// Takes the words that stood beside the flags; `names` says what each of them is.
    pub fn take_words(&mut self, names: &[&str], words: Vec<String>) -> Result<(), String> {
        if let Some(extra) = words.get(names.len()) {
            return Err(format!("{extra}: one word too many; put a text of several words in quotes"));
        }
        for (name, word) in names.iter().zip(words) {
            match *name {
                "MODEL" => {
                    self.model.hf_repo = None;
                    self.model.spec = Some(word);
                }
                _ if self.prompt.source.is_some() => {
                    return Err(format!("{word}: the prompt was given by a flag already; give it once"));
                }
                _ => {
                    self.prompt.source = Some(Source::Text(word));
                    self.prompt.one_shot = true;
                }
            }
        }
        Ok(())
    }
}
