//! How a model is to be opened.

use device::{Feature, Hardware, Isa};
use engine::inject::Inject;
use engine::technique::{KvCodec, Resolved, State, Switch, SwitchError, Technique, resolve};
use engine::watch::WatchOptions;
use kernels::packed::Form;
use kernels::{KvType, Policy};

use crate::{Gpu, GpuLayers};

/// Which plan judges or runs (ARCHITECTURE.md, "Three plans").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanKind {
    /// Reference kernels and what equals them bit for bit. Slow; for tiny models.
    Reference,
    /// f32 activations and an f32 cache: the judge of accuracy.
    Exact,
    /// The best kernels up to rounded ones, no technique.
    Baseline,
}

impl PlanKind {
    /// What the plan may choose from.
    pub(crate) fn policy(self) -> Policy {
        match self {
            PlanKind::Reference => Policy::reference(),
            PlanKind::Exact => Policy::exact(),
            PlanKind::Baseline => Policy::baseline(),
        }
    }

    /// The element type of the cache: the judges store f32 whatever was asked for.
    pub(crate) fn kv_type(self, asked: KvType) -> KvType {
        if self == PlanKind::Baseline { asked } else { KvType::F32 }
    }
}

/// How a model is to be opened. [`Options::default`] is what the program does without flags.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which plan.
    pub plan: PlanKind,
    /// Cap on the instruction set.
    pub isa: Option<Isa>,
    /// Whether weights may be laid out anew where a kernel gains by it; else all are read where they are mapped.
    pub repack: bool,
    /// Layers on the GPU, where [`crate::Llm::open_on`] is given one.
    pub gpu_layers: GpuLayers,
    /// Worker threads.
    pub threads: usize,
    /// Tokens of context; 0 for what the model was trained for.
    pub context: u32,
    /// Most rows of a step.
    pub batch: usize,
    /// Most rows computed at once, at most `batch`.
    pub ubatch: usize,
    /// Element type of cached keys.
    pub kv_type_k: KvType,
    /// Element type of cached values.
    pub kv_type_v: KvType,
    /// Sequences in the cache at once.
    pub num_sequences: usize,
    /// Whether each sequence may have all of the context, as far as the others leave it, instead of its part.
    pub kv_unified: bool,
    /// Bytes of the KV cache; `None` for what the context needs. It is never exceeded.
    pub kv_memory: Option<u64>,
    /// Whether what one request has computed is kept for others that begin alike.
    pub cache_prompts: bool,
    /// Whether a request gets the same answer, bit for bit, whatever else is being served. Costs speed: all
    /// steps use the kernels for many rows, and prompts go in small chunks.
    pub batch_invariant: bool,
    /// Most requests that wait for a place; more are refused.
    pub max_waiting: u32,
    /// What happens when numbers go wrong.
    pub watch: WatchOptions,
    /// Faults put in on purpose, in builds with debug assertions.
    pub inject: Vec<Inject>,
    /// `--rope-*` and `--yarn-*`.
    pub rope: model::rope::Overrides,
    /// The techniques that there are, most wanted first.
    pub catalogue: &'static [&'static Technique],
    /// What is wanted of them; a technique that no switch names is off.
    pub techniques: Vec<Switch>,
}

impl Options {
    /// The machine, capped as asked.
    pub fn hardware(&self) -> Hardware {
        Hardware::probe().capped(self.isa.unwrap_or(Isa::Native))
    }

    /// What becomes of each technique on this machine, under this plan. What a GPU would bring is taken for granted:
    /// opening a model, with the GPU that there is, has the last word.
    ///
    /// # Errors
    /// When a switch names what there is not, or asks for what cannot be.
    pub fn resolve(&self) -> Result<Vec<Resolved>, SwitchError> {
        self.resolve_among(&[Feature::Cuda, Feature::CublasLt, Feature::Wgmma])
    }

    /// The same with this GPU or none: what it has counts as the machine's.
    pub(crate) fn resolve_with(&self, gpu: Option<&Gpu>) -> Result<Vec<Resolved>, SwitchError> {
        self.resolve_among(gpu.map_or(&[], |gpu| &gpu.hardware().features))
    }

    fn resolve_among(&self, of_gpu: &[Feature]) -> Result<Vec<Resolved>, SwitchError> {
        let mut hardware = self.hardware();
        hardware.features.extend(of_gpu);
        resolve(self.catalogue, &self.techniques, &hardware, self.plan.policy().weakest)
    }

    /// How weights on the GPU are laid out when these techniques are on.
    pub(crate) fn gpu_form(&self, techniques: &[Resolved]) -> Form {
        let on = techniques.iter().filter(|resolved| self.repack && resolved.state == State::On);
        on.filter_map(|resolved| resolved.technique.repack()).next().unwrap_or(Form::Rows)
    }

    /// The element types of cached keys and values when these techniques are on.
    pub(crate) fn kv_types(&self, techniques: &[Resolved]) -> (KvType, KvType) {
        let codec = techniques.iter().find_map(Resolved::active_codec);
        let KvCodec { k, v } = codec.unwrap_or(KvCodec { k: self.kv_type_k, v: self.kv_type_v });
        (self.plan.kv_type(k), self.plan.kv_type(v))
    }

    /// What the plan may choose from when these techniques are on.
    pub(crate) fn policy(&self, techniques: &[Resolved]) -> Policy {
        let on = techniques.iter().filter(|resolved| resolved.state == State::On);
        let extra = on.flat_map(|resolved| resolved.technique.variants()).collect();
        Policy { extra, ..self.plan.policy() }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            plan: PlanKind::Baseline,
            isa: None,
            repack: true,
            gpu_layers: GpuLayers::Fit,
            threads: Hardware::probe().num_cores,
            context: 0,
            batch: 2048,
            ubatch: 512,
            kv_type_k: KvType::F16,
            kv_type_v: KvType::F16,
            num_sequences: 1,
            kv_unified: false,
            kv_memory: None,
            cache_prompts: false,
            batch_invariant: false,
            max_waiting: u32::MAX,
            watch: WatchOptions::default(),
            inject: Vec::new(),
            rope: model::rope::Overrides::default(),
            catalogue: techniques::CATALOG,
            techniques: Vec::new(),
        }
    }
}
