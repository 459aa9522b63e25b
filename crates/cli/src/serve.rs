//! `chaski serve`: opens the model and hands it to the HTTP server.

use std::ops::ControlFlow;
use std::path::Path;

use chaski::Llm;
use engine::request::{NoText, Report, Request, WhenFull};
use engine::sampler::{Params, Sampler, VocabInfo};
use server::{Config, Model};
use text::template::ChatTemplate;

use crate::log::Log;
use crate::settings::{Load, Settings};
use crate::{chat_template, constraint, model_file, open, prompt_text, source};

/// Sequences side by side when nobody says how many: llama-server's choice.
const AUTO_PARALLEL: usize = 4;

/// Serves until it is asked to stop.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let mut log = Log::open(&settings.output)?;
    // A missing file is told before the model is loaded.
    let template = chat_template::chosen(&settings.chat)?;
    let config = config(settings)?;
    let path = source::resolve(&settings.model)?;
    let mut llm = open::llm_at(&path, &load(settings), &mut log)?;
    let template = chat_template::compile(&llm, template, &mut log)?;
    if settings.prompt.warmup {
        warm_up(&mut llm)?;
    }
    let model = model(&mut llm, &path, template, settings);
    let slots = model.num_slots;
    let context = model.context;
    server::run(llm.into_engine(), model, config, |addresses| {
        log.info(format_args!("listening on {} ({slots} slots of {context} tokens)", addresses.join(", ")));
    })?;
    log.info(format_args!("stopped"));
    Ok(())
}

/// How the model is loaded: with room for several sequences.
fn load(settings: &Settings) -> Load {
    let serve = &settings.serve;
    Load {
        num_sequences: serve.parallel.unwrap_or(AUTO_PARALLEL),
        kv_unified: serve.kv_unified.unwrap_or(serve.parallel.is_none()),
        kv_memory: serve.kv_memory,
        cache_prompts: serve.http.defaults.cache_prompt,
        max_waiting: serve.max_waiting,
        ..settings.load.clone()
    }
}

/// The server's settings, with what it shares with other commands.
fn config(settings: &Settings) -> anyhow::Result<Config> {
    let mut config = settings.serve.http.clone();
    let prompt = &settings.prompt;
    config.defaults.sampling = settings.sampling.clone();
    config.defaults.constraint = constraint::chosen(settings.form.as_ref())?;
    config.defaults.max_tokens = u32::try_from(prompt.predict).ok();
    config.defaults.keep = u32::try_from(prompt.keep).ok();
    config.defaults.context_shift = prompt.context_shift;
    config.defaults.stop = prompt_text::reverse_prompts(prompt)?;
    config.defaults.special = settings.output.special;
    config.defaults.template_kwargs = settings.chat.template_kwargs.clone();
    config.defaults.batch = settings.load.batch;
    Ok(config)
}

/// One token through the whole plan, so that the weights are in memory and the threads awake.
fn warm_up(llm: &mut Llm) -> anyhow::Result<()> {
    let special = llm.tokenizer().vocab().special();
    let vocab = VocabInfo { num_tokens: llm.vocab_size(), ..VocabInfo::default() };
    let request = Request {
        prompt: vec![special.bos.or(special.eos).unwrap_or(0)],
        sampler: Sampler::new(&Params::default(), &vocab, 0)?,
        detokenizer: Box::new(NoText),
        constraint: None,
        stop_tokens: [].into(),
        max_new_tokens: Some(1),
        when_full: WhenFull::Stop,
        cache_prompt: false,
        report: Report::default(),
    };
    Ok(llm.engine().answer(request, |_| ControlFlow::Continue(()))?)
}

/// What the wire shows of the model.
fn model(llm: &mut Llm, path: &Path, template: ChatTemplate, settings: &Settings) -> Model {
    let (path, serve) = (path.display().to_string(), &settings.serve);
    let hparams = &llm.engine().runner().graph().hparams;
    let (trained_context, hidden_size) = (hparams.context_length, hparams.hidden_size);
    let num_slots = llm.engine().cache().limits().num_sequences as usize;
    Model {
        names: if serve.aliases.is_empty() { vec![path.clone()] } else { serve.aliases.clone() },
        tags: serve.tags.clone(),
        path,
        ftype: model_file::main_type(llm.file()).to_uppercase(),
        tokenizer: llm.tokenizer().clone(),
        template_source: template.source().to_owned(),
        template,
        context: llm.context(),
        trained_context,
        vocab_size: llm.vocab_size(),
        hidden_size,
        num_parameters: model_file::num_parameters(llm.file()),
        weight_bytes: model_file::weight_bytes(llm.file()),
        sampler_forms: llm.sampler_forms(),
        num_slots,
    }
}
