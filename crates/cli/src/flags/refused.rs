//! Flags that llama.cpp knows and `chaski` refuses by name: each with the reason, and what to do instead.

use super::Flag;
use crate::command::Commands;

const PINNING: &str = "threads are not pinned here; `taskset -c LIST chaski …` does it from outside";
const PRIORITY: &str = "use `nice` or `chrt` from outside";
const POLLING: &str = "the pool spins briefly and then sleeps by itself; leave it out";
const WITH_LAYER: &str = "what belongs to a layer is where its layer is; -ngl says how many are on the GPU";
const ONE_GPU: &str = "one GPU is used at most, the first; -ngl says how many layers it takes";
const FITTING: &str = "-ngl auto puts on the GPU what fits; leave it out";
const NO_MOE: &str = "no architecture with experts is served yet; leave it out";
const NO_ADAPTER: &str = "adapters are not applied yet; merge it into the model first";
const NO_CACHE_FILE: &str = "the state of a prompt is not saved to a file; keep the program running in a chat instead";
const NO_DRAFT: &str = "there is no speculative decoding yet; leave it out";
const NO_MEDIA: &str = "this version reads text only";
const NO_REASONING: &str = "a thought is not cut short; --reasoning off asks for none, -n limits the answer";
const NO_TASKS: &str = "only perplexity and KL divergence are measured";
const NO_SERVER: &str = "the program does its work itself; `chaski serve` is the server, and any client may ask it";
const PULL_INSTEAD: &str = "name a model with -m NAME (see `chaski models`) or -hf user/repo:QUANT";

const RUN: Commands = Commands::RUN;

pub const FLAGS: &[Flag] = &[
    Flag::refused(&["-tb", "--threads-batch"], "one pool of threads serves prompt and generation; give -t alone")
        .env("LLAMA_ARG_THREADS_BATCH"),
    Flag::refused(&["-C", "--cpu-mask"], PINNING),
    Flag::refused(&["-Cr", "--cpu-range"], PINNING),
    Flag::refused(&["--cpu-strict"], PINNING),
    Flag::refused(&["-Cb", "--cpu-mask-batch"], PINNING),
    Flag::refused(&["-Crb", "--cpu-range-batch"], PINNING),
    Flag::refused(&["--cpu-strict-batch"], PINNING),
    Flag::refused(&["--prio"], PRIORITY),
    Flag::refused(&["--prio-batch"], PRIORITY),
    Flag::refused(&["--poll"], POLLING),
    Flag::refused(&["--poll-batch"], POLLING),
    Flag::refused(&["--numa"], "use `numactl` from outside").env("LLAMA_ARG_NUMA"),
    Flag::refused(&["--mlock"], "pages are not locked; raise the machine's free memory instead").env("LLAMA_ARG_MLOCK"),
    Flag::refused(&["-lzm", "--lazy-mode"], "the file is mapped, so rows are read when they are needed; leave it out")
        .env("LLAMA_ARG_LAZY_MODE"),
    Flag::refused(&["--swa-full"], "layers with a sliding window keep only their window; leave it out")
        .env("LLAMA_ARG_SWA_FULL"),
    Flag::refused(&["-kvo", "--kv-offload", "-nkvo", "--no-kv-offload"], WITH_LAYER).env("LLAMA_ARG_KV_OFFLOAD"),
    Flag::refused(&["--no-host"], WITH_LAYER).env("LLAMA_ARG_NO_HOST"),
    Flag::refused(&["-ot", "--override-tensor"], WITH_LAYER).env("LLAMA_ARG_OVERRIDE_TENSOR"),
    Flag::refused(&["-sm", "--split-mode"], ONE_GPU).env("LLAMA_ARG_SPLIT_MODE"),
    Flag::refused(&["-ts", "--tensor-split"], ONE_GPU).env("LLAMA_ARG_TENSOR_SPLIT"),
    Flag::refused(&["-mg", "--main-gpu"], ONE_GPU).env("LLAMA_ARG_MAIN_GPU"),
    Flag::refused(&["-fit", "--fit"], FITTING).env("LLAMA_ARG_FIT"),
    Flag::refused(&["-fitt", "--fit-target"], FITTING).env("LLAMA_ARG_FIT_TARGET"),
    Flag::refused(&["-fitc", "--fit-ctx"], FITTING).env("LLAMA_ARG_FIT_CTX"),
    Flag::refused(&["--op-offload", "--no-op-offload", "-nopo"], WITH_LAYER),
    Flag::refused(&["--rpc"], "there is no remote backend").env("LLAMA_ARG_RPC"),
    Flag::refused(&["-cmoe", "--cpu-moe"], NO_MOE).env("LLAMA_ARG_CPU_MOE"),
    Flag::refused(&["-ncmoe", "--n-cpu-moe"], NO_MOE).env("LLAMA_ARG_N_CPU_MOE"),
    Flag::refused(&["-ncffn", "--n-cpu-ffn"], WITH_LAYER).env("LLAMA_ARG_N_CPU_FFN"),
    Flag::refused(&["-dt", "--defrag-thold"], "the cache is paged and needs no defragmentation; leave it out")
        .env("LLAMA_ARG_DEFRAG_THOLD"),
    Flag::refused(
        &["-kvu", "--kv-unified", "-no-kvu", "--no-kv-unified"],
        "the cache is paged and shared by all sequences; leave it out",
    )
    .only_in(Commands::NOT_SERVE)
    .env("LLAMA_ARG_KV_UNIFIED"),
    Flag::refused(
        &["--check-tensors"],
        "weights are not scanned for NaN when loading; `chaski inspect` checks the file's structure",
    ),
    Flag::refused(
        &["--override-kv"],
        "metadata is taken as the file has it; change the file, or use --rope-… and --chat-template",
    ),
    Flag::refused(&["-gan", "--grp-attn-n"], "self-extend is not offered; --rope-scaling yarn stretches the context")
        .env("LLAMA_ARG_GRP_ATTN_N"),
    Flag::refused(&["-gaw", "--grp-attn-w"], "self-extend is not offered; --rope-scaling yarn stretches the context")
        .env("LLAMA_ARG_GRP_ATTN_W"),
    Flag::refused(&["--lora"], NO_ADAPTER),
    Flag::refused(&["--lora-scaled"], NO_ADAPTER),
    Flag::refused(&["--control-vector"], NO_ADAPTER),
    Flag::refused(&["--control-vector-scaled"], NO_ADAPTER),
    Flag::refused(&["--control-vector-layer-range"], NO_ADAPTER),
    Flag::refused(&["-mu", "--model-url"], PULL_INSTEAD).env("LLAMA_ARG_MODEL_URL"),
    Flag::refused(&["-dr", "--docker-repo"], PULL_INSTEAD).env("LLAMA_ARG_DOCKER_REPO"),
    Flag::refused(&["--gpt-oss-20b-default"], PULL_INSTEAD),
    Flag::refused(&["--gpt-oss-120b-default"], PULL_INSTEAD),
    Flag::refused(&["--vision-gemma-4b-default"], PULL_INSTEAD),
    Flag::refused(&["--vision-gemma-12b-default"], PULL_INSTEAD),
    Flag::refused(
        &["--log-jsonl", "--no-log-jsonl"],
        "the log is plain text; --log-file keeps it apart from the output",
    )
    .env("LLAMA_ARG_LOG_JSONL"),
    Flag::refused(&["--log-prompts-dir"], "--verbose-prompt with --log-file keeps the prompts"),
    Flag::refused(&["-ptc", "--print-token-count"], "the timings at the end carry the counts"),
    Flag::refused(&["--prompt-cache"], NO_CACHE_FILE),
    Flag::refused(&["--prompt-cache-all"], NO_CACHE_FILE),
    Flag::refused(&["--prompt-cache-ro"], NO_CACHE_FILE),
    Flag::refused(&["--reasoning-budget"], NO_REASONING).env("LLAMA_ARG_THINK_BUDGET"),
    Flag::refused(&["--reasoning-budget-message"], NO_REASONING).env("LLAMA_ARG_THINK_BUDGET_MESSAGE"),
    Flag::refused(&["-bs", "--backend-sampling"], "tokens are sampled on the CPU; leave it out")
        .env("LLAMA_ARG_BACKEND_SAMPLING"),
    Flag::refused(&["-o", "--output", "--output-file"], "redirect standard output instead: `chaski run … > FILE`")
        .only_in(RUN),
    Flag::refused(&["-oe", "--output-err"], "there is one output; -o json and the like choose its shape"),
    Flag::refused(&["--server-base"], NO_SERVER),
    Flag::refused(&["--hellaswag"], NO_TASKS),
    Flag::refused(&["--hellaswag-tasks"], NO_TASKS),
    Flag::refused(&["--winogrande"], NO_TASKS),
    Flag::refused(&["--winogrande-tasks"], NO_TASKS),
    Flag::refused(&["--multiple-choice"], NO_TASKS),
    Flag::refused(&["--multiple-choice-tasks"], NO_TASKS),
    Flag::refused(&["-mm", "--mmproj"], NO_MEDIA).env("LLAMA_ARG_MMPROJ"),
    Flag::refused(&["-mmu", "--mmproj-url"], NO_MEDIA).env("LLAMA_ARG_MMPROJ_URL"),
    Flag::refused(&["--mmproj-auto", "--no-mmproj", "--no-mmproj-auto"], NO_MEDIA).env("LLAMA_ARG_MMPROJ_AUTO"),
    Flag::refused(&["--mmproj-offload", "--no-mmproj-offload"], NO_MEDIA).env("LLAMA_ARG_MMPROJ_OFFLOAD"),
    Flag::refused(&["-mmdev", "--mmproj-device"], NO_MEDIA),
    Flag::refused(&["--image", "--audio", "--video"], NO_MEDIA),
    Flag::refused(&["--image-min-tokens"], NO_MEDIA).env("LLAMA_ARG_IMAGE_MIN_TOKENS"),
    Flag::refused(&["--image-max-tokens"], NO_MEDIA).env("LLAMA_ARG_IMAGE_MAX_TOKENS"),
    Flag::refused(&["--video-fps"], NO_MEDIA).env("LLAMA_ARG_VIDEO_FPS"),
    Flag::refused(&["--video-timestamp-interval"], NO_MEDIA).env("LLAMA_ARG_VIDEO_TIMESTAMP_INTERVAL"),
    Flag::refused(&["--video-ffmpeg-dir"], NO_MEDIA).env("LLAMA_ARG_VIDEO_FFMPEG_DIR"),
    Flag::refused(&["--spec-draft-model", "-md", "--model-draft"], NO_DRAFT).env("LLAMA_ARG_SPEC_DRAFT_MODEL"),
    Flag::refused(&["--spec-draft-hf", "-hfd", "-hfrd", "--hf-repo-draft"], NO_DRAFT)
        .env("LLAMA_ARG_SPEC_DRAFT_HF_REPO"),
    Flag::refused(&["--spec-draft-type-k", "-ctkd", "--cache-type-k-draft"], NO_DRAFT)
        .env("LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_K"),
    Flag::refused(&["--spec-draft-type-v", "-ctvd", "--cache-type-v-draft"], NO_DRAFT)
        .env("LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_V"),
    Flag::refused(&["--spec-draft-threads", "-td", "--threads-draft"], NO_DRAFT),
    Flag::refused(&["--spec-draft-threads-batch", "-tbd", "--threads-batch-draft"], NO_DRAFT),
    Flag::refused(&["--spec-draft-cpu-mask", "-Cd", "--cpu-mask-draft"], NO_DRAFT),
    Flag::refused(&["--spec-draft-cpu-range", "-Crd", "--cpu-range-draft"], NO_DRAFT),
    Flag::refused(&["--spec-draft-cpu-strict", "--cpu-strict-draft"], NO_DRAFT),
    Flag::refused(&["--spec-draft-prio", "--prio-draft"], NO_DRAFT),
    Flag::refused(&["--spec-draft-poll", "--poll-draft"], NO_DRAFT),
    Flag::refused(&["--spec-draft-cpu-mask-batch", "-Cbd", "--cpu-mask-batch-draft"], NO_DRAFT),
    Flag::refused(&["--spec-draft-cpu-strict-batch", "--cpu-strict-batch-draft"], NO_DRAFT),
    Flag::refused(&["--spec-draft-prio-batch", "--prio-batch-draft"], NO_DRAFT),
    Flag::refused(&["--spec-draft-poll-batch", "--poll-batch-draft"], NO_DRAFT),
    Flag::refused(&["--spec-draft-override-tensor", "-otd", "--override-tensor-draft"], NO_DRAFT),
    Flag::refused(&["--spec-draft-cpu-moe", "-cmoed", "--cpu-moe-draft"], NO_DRAFT).env("LLAMA_ARG_SPEC_DRAFT_CPU_MOE"),
    Flag::refused(&["--spec-draft-n-cpu-moe", "--spec-draft-ncmoe", "-ncmoed", "--n-cpu-moe-draft"], NO_DRAFT)
        .env("LLAMA_ARG_SPEC_DRAFT_N_CPU_MOE"),
    Flag::refused(&["--spec-draft-n-max"], NO_DRAFT).env("LLAMA_ARG_SPEC_DRAFT_N_MAX"),
    Flag::refused(&["--spec-draft-n-min"], NO_DRAFT).env("LLAMA_ARG_SPEC_DRAFT_N_MIN"),
    Flag::refused(&["--spec-synth-len"], NO_DRAFT).env("LLAMA_ARG_SPEC_SYNTH_LEN"),
    Flag::refused(&["--spec-synth-rates"], NO_DRAFT).env("LLAMA_ARG_SPEC_SYNTH_RATES"),
    Flag::refused(&["--spec-draft-p-split", "--draft-p-split"], NO_DRAFT).env("LLAMA_ARG_SPEC_DRAFT_P_SPLIT"),
    Flag::refused(&["--spec-draft-p-min", "--draft-p-min"], NO_DRAFT).env("LLAMA_ARG_SPEC_DRAFT_P_MIN"),
    Flag::refused(&["--spec-draft-backend-sampling", "--no-spec-draft-backend-sampling"], NO_DRAFT)
        .env("LLAMA_ARG_SPEC_DRAFT_BACKEND_SAMPLING"),
    Flag::refused(&["--spec-draft-device", "-devd", "--device-draft"], NO_DRAFT),
    Flag::refused(&["--spec-draft-ngl", "-ngld", "--gpu-layers-draft", "--n-gpu-layers-draft"], NO_DRAFT)
        .env("LLAMA_ARG_N_GPU_LAYERS_DRAFT"),
    Flag::refused(&["--spec-type"], NO_DRAFT).env("LLAMA_ARG_SPEC_TYPE"),
    Flag::refused(&["--spec-default"], NO_DRAFT),
    Flag::refused(&["--spec-ngram-mod-n-min"], NO_DRAFT),
    Flag::refused(&["--spec-ngram-mod-n-max"], NO_DRAFT),
    Flag::refused(&["--spec-ngram-mod-n-match"], NO_DRAFT),
    Flag::refused(&["--spec-ngram-simple-size-n"], NO_DRAFT),
    Flag::refused(&["--spec-ngram-simple-size-m"], NO_DRAFT),
    Flag::refused(&["--spec-ngram-simple-min-hits"], NO_DRAFT),
    Flag::refused(&["--spec-ngram-map-k-size-n"], NO_DRAFT),
    Flag::refused(&["--spec-ngram-map-k-size-m"], NO_DRAFT),
    Flag::refused(&["--spec-ngram-map-k-min-hits"], NO_DRAFT),
    Flag::refused(&["--spec-ngram-map-k4v-size-n"], NO_DRAFT),
    Flag::refused(&["--spec-ngram-map-k4v-size-m"], NO_DRAFT),
    Flag::refused(&["--spec-ngram-map-k4v-min-hits"], NO_DRAFT),
    Flag::refused(&["--draft", "--draft-n", "--draft-max"], NO_DRAFT).env("LLAMA_ARG_DRAFT_MAX"),
    Flag::refused(&["--draft-min", "--draft-n-min"], NO_DRAFT).env("LLAMA_ARG_DRAFT_MIN"),
];
