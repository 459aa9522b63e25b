//! Flags of llama-server that `serve` refuses by name: each with the reason, and what to do instead.

use super::Flag;

const NO_AGENT: &str = "the server runs no tools and calls no other servers; a client does that";
const NO_TLS: &str = "put a proxy that speaks TLS in front; the server listens on 127.0.0.1 or a Unix socket";
const NO_ROUTER: &str = "one server serves one model; start one for each";
const NO_DRAFT: &str = "there is no speculative decoding yet; leave it out";
const NO_PAGE: &str = "there is no web page yet; leave it out";
const NO_SLOT_STATE: &str = "the cache is paged and shared by all sequences; leave it out";
const NO_MEDIA: &str = "this version reads text only";
const PULL_INSTEAD: &str = "name a model with -m NAME (see `chaski models`) or -hf user/repo:QUANT";

pub const FLAGS: &[Flag] = &[
    Flag::refused(&["--ssl-key-file"], NO_TLS).env("LLAMA_ARG_SSL_KEY_FILE"),
    Flag::refused(&["--ssl-cert-file"], NO_TLS).env("LLAMA_ARG_SSL_CERT_FILE"),
    Flag::refused(&["--path"], "files are not served; put a web server in front").env("LLAMA_ARG_STATIC_PATH"),
    Flag::refused(&["--ui-config", "--webui-config"], NO_PAGE).env("LLAMA_ARG_UI_CONFIG"),
    Flag::refused(&["--ui-config-file", "--webui-config-file"], NO_PAGE).env("LLAMA_ARG_UI_CONFIG_FILE"),
    Flag::refused(
        &["--ui-mcp-proxy", "--webui-mcp-proxy", "--no-ui-mcp-proxy", "--no-webui-mcp-proxy"],
        "there is no web page that would need a proxy; leave it out",
    )
    .env("LLAMA_ARG_UI_MCP_PROXY"),
    Flag::refused(&["--tools"], NO_AGENT).env("LLAMA_ARG_TOOLS"),
    Flag::refused(&["--tools-runtime"], NO_AGENT).env("LLAMA_ARG_TOOLS_RUNTIME"),
    Flag::refused(&["--mcp-servers-config"], NO_AGENT).env("LLAMA_ARG_MCP_SERVERS_CONFIG"),
    Flag::refused(&["--mcp-servers-json"], NO_AGENT).env("LLAMA_ARG_MCP_SERVERS_JSON"),
    Flag::refused(&["-ag", "--agent", "-no-ag", "--no-agent"], NO_AGENT).env("LLAMA_ARG_AGENT"),
    Flag::refused(&["--rerank", "--reranking"], "documents are not ranked; leave it out").env("LLAMA_ARG_RERANKING"),
    Flag::refused(&["--slot-save-path"], "slots are not saved to disk yet; leave it out"),
    Flag::refused(&["-sps", "--slot-prompt-similarity"], NO_SLOT_STATE),
    Flag::refused(&["--cache-idle-slots", "--no-cache-idle-slots"], NO_SLOT_STATE).env("LLAMA_ARG_CACHE_IDLE_SLOTS"),
    Flag::refused(&["-cms", "--checkpoint-min-step"], "there are no checkpoints of the context; leave it out")
        .env("LLAMA_ARG_CHECKPOINT_MIN_SPACING_NT"),
    Flag::refused(&["--kv-unified-per-slot"], "give -c and -np: each sequence gets its part, or all of it with -kvu")
        .env("LLAMA_ARG_KV_UNIFIED_PER_SLOT"),
    Flag::refused(&["--sleep-idle-seconds"], "the model stays loaded; start the server when it is needed"),
    Flag::refused(&["--lora-init-without-apply"], "adapters are not applied yet; merge it into the model first"),
    Flag::refused(&["--media-path"], NO_MEDIA),
    Flag::refused(&["--mtmd-batch-max-tokens"], NO_MEDIA).env("LLAMA_ARG_MTMD_BATCH_MAX_TOKENS"),
    Flag::refused(&["--models-dir"], NO_ROUTER).env("LLAMA_ARG_MODELS_DIR"),
    Flag::refused(&["--models-preset"], NO_ROUTER).env("LLAMA_ARG_MODELS_PRESET"),
    Flag::refused(&["--models-max"], NO_ROUTER).env("LLAMA_ARG_MODELS_MAX"),
    Flag::refused(&["--models-autoload", "--no-models-autoload"], NO_ROUTER).env("LLAMA_ARG_MODELS_AUTOLOAD"),
    Flag::refused(&["-lcs", "--lookup-cache-static"], NO_DRAFT),
    Flag::refused(&["-lcd", "--lookup-cache-dynamic"], NO_DRAFT),
    Flag::refused(&["--spec-ngram-size-n"], NO_DRAFT),
    Flag::refused(&["--spec-ngram-size-m"], NO_DRAFT),
    Flag::refused(&["--spec-ngram-min-hits"], NO_DRAFT),
    Flag::refused(&["--embd-gemma-default"], PULL_INSTEAD),
    Flag::refused(&["--fim-qwen-1.5b-default"], PULL_INSTEAD),
    Flag::refused(&["--fim-qwen-3b-default"], PULL_INSTEAD),
    Flag::refused(&["--fim-qwen-7b-default"], PULL_INSTEAD),
    Flag::refused(&["--fim-qwen-7b-spec"], PULL_INSTEAD),
    Flag::refused(&["--fim-qwen-14b-spec"], PULL_INSTEAD),
    Flag::refused(&["--fim-qwen-30b-default"], PULL_INSTEAD),
];
