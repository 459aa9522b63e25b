//! Flags of `serve` alone, with llama-server's names: where it listens, whom it lets in, how many it serves at once.

use std::time::Duration;

use engine::request::Pooling;

use super::{Flag, Given, Group};
use crate::command::Commands;
use crate::settings::Settings;

const GROUP: Group = Group::Command;
const SERVE: Commands = Commands::SERVE;

/// More sequences than one machine decodes side by side; a larger number is a typing error.
const MOST_SEQUENCES: usize = 4096;

pub const FLAGS: &[Flag] = &[
    Flag::value(
        &["--host"],
        "HOST,…",
        "addresses to listen on, or paths of Unix sockets that end in .sock (default: 127.0.0.1)",
    )
    .env("LLAMA_ARG_HOST")
    .on(GROUP, SERVE)
    .set(|s, g| {
        s.serve.http.hosts = list(g)?;
        Ok(())
    }),
    Flag::value(&["--port"], "PORT", "port to listen on (default: 8080; 0: any that is free)")
        .env("LLAMA_ARG_PORT")
        .on(GROUP, SERVE)
        .set(|s, g| {
            s.serve.http.port = g.number(0..=u16::MAX)?;
            Ok(())
        }),
    Flag::switch(&["--reuse-port"], "let other programs listen on the same port")
        .env("LLAMA_ARG_REUSE_PORT")
        .on(GROUP, SERVE)
        .set(|s, _| {
            s.serve.http.reuse_port = true;
            Ok(())
        }),
    Flag::value(&["--api-prefix"], "PREFIX", "what stands before every path, without a slash at its end")
        .env("LLAMA_ARG_API_PREFIX")
        .on(GROUP, SERVE)
        .set(|s, g| {
            let plain = |letter: char| letter.is_ascii_alphanumeric() || "/-_.~".contains(letter);
            let is_path = g.text.is_empty() || (g.text.starts_with('/') && !g.text.ends_with('/'));
            if !is_path || !g.text.chars().all(plain) {
                return Err(format!("expected a path like /llm, got `{}`", g.text));
            }
            s.serve.http.api_prefix = g.text.to_owned();
            Ok(())
        }),
    Flag::value(&["--api-key"], "KEY,…", "let in only who brings one of these keys; may be given several times")
        .env("LLAMA_API_KEY")
        .on(GROUP, SERVE)
        .set(|s, g| {
            s.serve.http.api_keys.extend(list(g)?);
            Ok(())
        }),
    Flag::value(&["--api-key-file"], "FILE", "file with keys, one per line; lines that begin with # do not count")
        .env("LLAMA_ARG_API_KEY_FILE")
        .on(GROUP, SERVE)
        .set(|s, g| {
            let text = std::fs::read_to_string(g.text).map_err(|problem| format!("{}: {problem}", g.text))?;
            let keys = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            let before = s.serve.http.api_keys.len();
            s.serve.http.api_keys.extend(keys.map(str::to_owned));
            // Whoever asks for keys must not end up with a server that lets everybody in.
            if s.serve.http.api_keys.len() == before { Err(format!("{}: no key in it", g.text)) } else { Ok(()) }
        }),
    Flag::value(
        &["-np", "--parallel"],
        "N",
        "sequences decoded side by side (default: auto, 4 that share the whole context)",
    )
    .env("LLAMA_ARG_N_PARALLEL")
    .on(GROUP, SERVE)
    .set(|s, g| {
        s.serve.parallel = match g.text {
            "auto" | "-1" => None,
            _ => Some(g.number(1..=MOST_SEQUENCES)?),
        };
        Ok(())
    }),
    Flag::switch(
        &["-kvu", "--kv-unified"],
        "each sequence may have all of the context, as far as the others leave it (default: if -np is auto)",
    )
    .off(&["-no-kvu", "--no-kv-unified"])
    .env("LLAMA_ARG_KV_UNIFIED")
    .on(GROUP, SERVE)
    .set(|s, g| {
        s.serve.kv_unified = Some(g.on);
        Ok(())
    }),
    Flag::value(&["--kv-memory"], "MIB", "memory of the KV cache; never exceeded (default: what the context needs)")
        .on(GROUP, SERVE)
        .set(|s, g| {
            s.serve.kv_memory = Some(g.number(1..=u64::from(u32::MAX))? << 20);
            Ok(())
        }),
    Flag::value(&["--max-waiting"], "N", "requests that may wait for a place; more are refused (default: 1024)")
        .on(GROUP, SERVE)
        .set(|s, g| {
            s.serve.max_waiting = g.number(0..=u32::MAX)?;
            Ok(())
        }),
    Flag::switch(&["--cache-prompt"], "keep what was computed for prompts that begin alike (default: on)")
        .off(&["--no-cache-prompt"])
        .env("LLAMA_ARG_CACHE_PROMPT")
        .on(GROUP, SERVE)
        .set(|s, g| {
            s.serve.http.defaults.cache_prompt = g.on;
            Ok(())
        }),
    Flag::value(&["-a", "--alias"], "NAME,…", "names of the model in the API (default: its path)")
        .env("LLAMA_ARG_ALIAS")
        .on(GROUP, SERVE)
        .set(|s, g| {
            s.serve.aliases = list(g)?;
            Ok(())
        }),
    Flag::value(&["--tags"], "TAG,…", "tags of the model, shown by /v1/models")
        .env("LLAMA_ARG_TAGS")
        .on(GROUP, SERVE)
        .set(|s, g| {
            s.serve.tags = list(g)?;
            Ok(())
        }),
    Flag::switch(&["--metrics"], "answer GET /metrics, for Prometheus")
        .env("LLAMA_ARG_ENDPOINT_METRICS")
        .on(GROUP, SERVE)
        .set(|s, _| {
            s.serve.http.metrics = true;
            Ok(())
        }),
    Flag::switch(&["--props"], "answer POST /props (which changes nothing yet)")
        .env("LLAMA_ARG_ENDPOINT_PROPS")
        .on(GROUP, SERVE)
        .set(|s, _| {
            s.serve.http.props = true;
            Ok(())
        }),
    Flag::switch(&["--slots"], "answer GET /slots (default: on)")
        .off(&["--no-slots"])
        .env("LLAMA_ARG_ENDPOINT_SLOTS")
        .on(GROUP, SERVE)
        .set(|s, g| {
            s.serve.http.slots = g.on;
            Ok(())
        }),
    Flag::value(
        &["--cors-origins"],
        "ORIGIN,…",
        "web pages of these origins may call; `*` for all, `localhost` for this machine's (default: none)",
    )
    .env("LLAMA_ARG_CORS_ORIGINS")
    .on(GROUP, SERVE)
    .set(|s, g| {
        cors(s).origins = list(g)?;
        Ok(())
    }),
    Flag::value(&["--cors-methods"], "METHOD,…", "methods they may use (default: GET, POST, DELETE, OPTIONS)")
        .env("LLAMA_ARG_CORS_METHODS")
        .on(GROUP, SERVE)
        .set(|s, g| {
            cors(s).methods = list(g)?;
            Ok(())
        }),
    Flag::value(&["--cors-headers"], "HEADER,…", "headers they may send (default: *)")
        .env("LLAMA_ARG_CORS_HEADERS")
        .on(GROUP, SERVE)
        .set(|s, g| {
            cors(s).headers = list(g)?;
            Ok(())
        }),
    Flag::switch(&["--cors-credentials"], "they may send cookies and keys along (default: off)")
        .off(&["--no-cors-credentials"])
        .env("LLAMA_ARG_CORS_CREDENTIALS")
        .on(GROUP, SERVE)
        .set(|s, g| {
            cors(s).credentials = g.on;
            Ok(())
        }),
    Flag::switch(&["--embedding", "--embeddings"], "give vectors of texts too: /v1/embeddings and /embedding")
        .env("LLAMA_ARG_EMBEDDINGS")
        .on(GROUP, SERVE)
        .set(|s, _| {
            s.serve.http.embeddings.get_or_insert(Pooling::Mean);
            Ok(())
        }),
    Flag::value(
        &["--pooling"],
        "mean|cls|last",
        "how a text's vector is made of its tokens' (default: mean); implies --embeddings",
    )
    .env("LLAMA_ARG_POOLING")
    .on(GROUP, SERVE)
    .set(|s, g| {
        if ["none", "rank"].contains(&g.text) {
            return Err(format!("{} is not supported: a text gets one vector; give mean, cls or last", g.text));
        }
        let pooling = g.choice(&[("mean", Pooling::Mean), ("cls", Pooling::Cls), ("last", Pooling::Last)])?;
        s.serve.http.embeddings = Some(pooling);
        Ok(())
    }),
    Flag::value(
        &["--embd-normalize"],
        "N",
        "norm of vectors: -1 none, 0 largest value, 1 taxicab, 2 euclidean (default), p",
    )
    .on(GROUP, SERVE)
    .set(|s, g| {
        s.serve.http.embd_normalize = g.number(-1..=64)?;
        Ok(())
    }),
    Flag::value(&["-to", "--timeout"], "SECONDS", "how long a client may take to send a request (default: 3600)")
        .env("LLAMA_ARG_TIMEOUT")
        .on(GROUP, SERVE)
        .set(|s, g| {
            s.serve.http.timeout = Duration::from_secs(g.number(1..=u64::from(u32::MAX))?);
            Ok(())
        }),
    Flag::value(
        &["--sse-ping-interval"],
        "SECONDS",
        "how long a stream may be silent before a comment keeps it alive (default: 30, -1: for ever)",
    )
    .env("LLAMA_ARG_SSE_PING_INTERVAL")
    .on(GROUP, SERVE)
    .set(|s, g| {
        let seconds: i64 = g.number(-1..=i64::from(u32::MAX))?;
        s.serve.http.sse_ping = u64::try_from(seconds).ok().filter(|&seconds| seconds > 0).map(Duration::from_secs);
        Ok(())
    }),
    Flag::value(&["--threads-http"], "N", "threads that serve connections (default: -1, one for every eight cores)")
        .env("LLAMA_ARG_THREADS_HTTP")
        .on(GROUP, SERVE)
        .set(|s, g| {
            let count: i64 = g.number(-1..=1024)?;
            s.serve.http.num_threads = count.max(0) as usize;
            Ok(())
        }),
    Flag::switch(&["--prefill-assistant"], "go on with a last message of the assistant (default: on)")
        .off(&["--no-prefill-assistant"])
        .env("LLAMA_ARG_PREFILL_ASSISTANT")
        .on(GROUP, SERVE)
        .set(|s, g| {
            s.serve.http.defaults.prefill_assistant = g.on;
            Ok(())
        }),
    Flag::switch(&["--spm-infill"], "/infill puts the suffix before the prefix").on(GROUP, SERVE).set(|s, _| {
        s.serve.http.defaults.spm_infill = true;
        Ok(())
    }),
    Flag::switch(&["-cb", "--cont-batching"], "requests join and leave between any two steps (always so here)")
        .off(&["-nocb", "--no-cont-batching"])
        .env("LLAMA_ARG_CONT_BATCHING")
        .on(GROUP, SERVE)
        .set(|_, g| g.must_be_on("requests always join between steps; -np 1 serves them one by one")),
    Flag::value(&["--cache-reuse"], "0", "reuse of parts that are no common beginning: not offered, 0")
        .env("LLAMA_ARG_CACHE_REUSE")
        .on(GROUP, SERVE)
        .set(|_, g| g.only(&["0"], "only common beginnings of prompts are reused; leave it out")),
    Flag::switch(&["--warmup"], "run one step before the first request (default: off)")
        .off(&["--no-warmup"])
        .on(GROUP, SERVE)
        .set(|s, g| {
            s.prompt.warmup = g.on;
            Ok(())
        }),
    Flag::switch(&["--perf"], "tell timings with every answer (always so here)")
        .off(&["--no-perf"])
        .env("LLAMA_ARG_PERF")
        .on(GROUP, SERVE)
        .set(|_, g| g.must_be_on("timings are a part of every answer; leave it out")),
    Flag::switch(&["--ui", "--webui"], "a web page: there is none")
        .off(&["--no-ui", "--no-webui"])
        .env("LLAMA_ARG_UI")
        .on(GROUP, SERVE)
        .set(|_, g| if g.on { Err("not supported: there is no web page yet; leave it out".into()) } else { Ok(()) }),
];

/// A list whose entries are separated by commas.
fn list(given: &Given<'_>) -> Result<Vec<String>, String> {
    let entries: Vec<String> =
        given.text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect();
    if entries.is_empty() { Err("the list is empty".into()) } else { Ok(entries) }
}

/// The CORS settings; without an origin they let nobody in.
fn cors(settings: &mut Settings) -> &mut server::Cors {
    settings.serve.http.cors.get_or_insert_with(|| server::Cors {
        origins: Vec::new(),
        methods: ["GET", "POST", "DELETE", "OPTIONS"].map(str::to_owned).to_vec(),
        headers: vec!["*".into()],
        credentials: false,
    })
}
