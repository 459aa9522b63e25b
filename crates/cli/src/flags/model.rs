//! Flags that say which model is used.

use super::{Flag, Group};
use crate::command::Commands;

const MODEL: Group = Group::Model;
const ANY: Commands = Commands::WITH_MODEL;

pub const FLAGS: &[Flag] = &[
    Flag::value(&["-m", "--model"], "MODEL", "path of a GGUF file, a name from `chaski models`, or hf:owner/repo:file")
        .env("LLAMA_ARG_MODEL")
        .on(MODEL, ANY.without(Commands::BENCH))
        .set(|s, g| {
            s.model.spec = Some(g.filled()?);
            Ok(())
        }),
    Flag::value(
        &["-hf", "-hfr", "--hf-repo"],
        "USER/REPO[:QUANT]",
        "model of the Hugging Face hub; QUANT defaults to Q4_K_M",
    )
    .env("LLAMA_ARG_HF_REPO")
    .on(MODEL, ANY)
    .set(|s, g| {
        s.model.hf_repo = Some(g.filled()?);
        Ok(())
    }),
    Flag::value(&["-hff", "--hf-file"], "FILE", "file inside --hf-repo, instead of a QUANT")
        .env("LLAMA_ARG_HF_FILE")
        .on(MODEL, ANY)
        .set(|s, g| {
            s.model.hf_file = Some(g.filled()?);
            Ok(())
        }),
    Flag::value(&["-hft", "--hf-token"], "TOKEN", "access token of the hub, for private and gated repositories")
        .env("HF_TOKEN")
        .on(MODEL, ANY)
        .set(|s, g| {
            s.model.hf_token = Some(g.filled()?);
            Ok(())
        }),
    Flag::switch(&["--offline"], "use the cache only, never the network").env("LLAMA_ARG_OFFLINE").on(MODEL, ANY).set(
        |s, _| {
            s.model.offline = true;
            Ok(())
        },
    ),
];
