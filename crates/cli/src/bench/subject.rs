//! What `bench` measures: a model in a file, or a shape whose weights the GPU makes up.

use std::path::PathBuf;

use chaski::{Llm, MIXES, Shape};
use device::Ceilings;
use gguf::{DType, Gguf};

use crate::log::Log;
use crate::model_file::{self, ModelFile};
use crate::settings::{Load, ModelChoice, Settings};
use crate::{ceilings, open, source};

/// A model to be measured.
pub enum Subject {
    File(PathBuf),
    Shape(&'static Shape, (&'static str, DType)),
}

/// What the results say of it.
pub struct Card {
    pub filename: String,
    pub model_type: String,
    pub weight_bytes: u64,
    pub num_parameters: u64,
    pub cpu: String,
    /// Empty where the CPU computes.
    pub gpu: String,
    /// What reaches most of the work at most, once that was measured.
    pub ceilings: Option<Ceilings>,
}

/// The mix of a shape unless it is said.
const USUAL_MIX: &str = "q4_k_m";

impl Subject {
    /// All that are to be measured, one after the other.
    pub fn all(settings: &Settings) -> anyhow::Result<Vec<Subject>> {
        let bench = &settings.bench;
        if let Some(shape) = bench.shape {
            let usual = MIXES.iter().copied().find(|(name, _)| *name == USUAL_MIX);
            return Ok(bench.mix.or(usual).map(|mix| Subject::Shape(shape, mix)).into_iter().collect());
        }
        if bench.mix.is_some() {
            anyhow::bail!("--quant: says what the weights of a --shape are; a file says it itself");
        }
        // A model named without a flag stands above the environment's; the parser takes it or `-m`, not both.
        if bench.models.is_empty() || settings.model.spec.is_some() {
            return Ok(vec![Subject::File(source::resolve(&settings.model)?)]);
        }
        let choice = |spec: &String| ModelChoice { spec: Some(spec.clone()), ..settings.model.clone() };
        bench.models.iter().map(|spec| Ok(Subject::File(source::resolve(&choice(spec))?))).collect()
    }

    /// The model; `None` for a shape where there is no GPU.
    pub fn open(&self, load: &Load, log: &mut Log) -> anyhow::Result<Option<Llm>> {
        match self {
            Subject::File(path) => open::llm_at(path, load, log).map(Some),
            Subject::Shape(shape, (_, mix)) => open::shape(shape, *mix, load, log),
        }
    }

    /// What the results say of it once it is open.
    pub fn card(&self, llm: &Llm) -> anyhow::Result<Card> {
        let hardware = device::Hardware::probe();
        let gpu = llm.gpu_name().filter(|_| llm.gpu_layers().0 > 0).unwrap_or_default().to_owned();
        let ceilings = if gpu.is_empty() { ceilings::stored(&hardware) } else { ceilings::of_gpu(&gpu) };
        let sizes = |gguf: &Gguf| (model_file::weight_bytes(gguf), model_file::num_parameters(gguf));
        let (filename, model_type, (weight_bytes, num_parameters)) = match self {
            Subject::File(path) => {
                let file = ModelFile::open(path)?;
                (path.display().to_string(), file.summary(), sizes(&file.gguf))
            }
            Subject::Shape(shape, (mix, _)) => {
                (format!("shape {}", shape.name), format!("{} {}", shape.name, mix.to_uppercase()), sizes(llm.file()))
            }
        };
        Ok(Card { filename, model_type, weight_bytes, num_parameters, cpu: hardware.cpu_name, gpu, ceilings })
    }
}
