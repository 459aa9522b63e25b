/* Asks libllama for the logits of a fixture, and writes them as little-endian f32, one row per token; then goes on
 * greedily, one token a step, and prints what it picked as a JSON list.
 * Built and called by `cargo xtask fixtures --oracle`.
 *
 * usage: oracle_logits MODEL.gguf OUT.logits NUM_GREEDY TOKEN...
 *
 * Everything is kept in f32: no flash attention, an f32 KV cache, one thread so that sums have one order. */
#include "llama.h"

#include <stdio.h>
#include <stdlib.h>

/* Longer than the original context of the fixtures whose frequency factors depend on it. */
enum { NUM_CTX = 256 };

static void only_errors(enum ggml_log_level level, const char * text, void * unused) {
    (void) unused;
    if (level >= GGML_LOG_LEVEL_ERROR && level != GGML_LOG_LEVEL_CONT) {
        fputs(text, stderr);
    }
}

static llama_token most_likely(const float * logits, size_t num_vocab) {
    size_t best = 0;
    for (size_t i = 1; i < num_vocab; i++) {
        if (logits[i] > logits[best]) {
            best = i;
        }
    }
    return (llama_token) best;
}

static int fail(const char * what) {
    fprintf(stderr, "oracle_logits: %s\n", what);
    return 1;
}

int main(int argc, char ** argv) {
    if (argc < 5) {
        return fail("usage: oracle_logits MODEL.gguf OUT.logits NUM_GREEDY TOKEN...");
    }
    const int num_tokens = argc - 4, num_greedy = atoi(argv[3]);
    llama_log_set(only_errors, NULL);
    llama_backend_init();

    struct llama_model_params model_params = llama_model_default_params();
    model_params.use_extra_bufts = false; /* no repacked weights */
    struct llama_model * model = llama_model_load_from_file(argv[1], model_params);
    if (!model) {
        return fail("cannot load the model");
    }
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = NUM_CTX;
    params.n_batch = params.n_ubatch = NUM_CTX;
    params.n_threads = params.n_threads_batch = 1;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.type_k = params.type_v = GGML_TYPE_F32;
    struct llama_context * context = llama_init_from_model(model, params);
    if (!context) {
        return fail("cannot make a context");
    }

    struct llama_batch batch = llama_batch_init(num_tokens, 0, 1);
    batch.n_tokens = num_tokens;
    for (int i = 0; i < num_tokens; i++) {
        batch.token[i] = atoi(argv[4 + i]);
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    if (llama_decode(context, batch) != 0) {
        return fail("cannot evaluate the tokens");
    }

    FILE * out = fopen(argv[2], "wb");
    if (!out) {
        return fail("cannot open the output");
    }
    const size_t num_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    for (int i = 0; i < num_tokens; i++) {
        if (fwrite(llama_get_logits_ith(context, i), sizeof(float), num_vocab, out) != num_vocab) {
            return fail("cannot write the logits");
        }
    }
    if (fclose(out) != 0) {
        return fail("cannot write the logits");
    }

    llama_token token = most_likely(llama_get_logits_ith(context, num_tokens - 1), num_vocab);
    for (int i = 0; i < num_greedy; i++) {
        printf("%s%d", i == 0 ? "[" : ", ", token);
        if (llama_decode(context, llama_batch_get_one(&token, 1)) != 0) {
            return fail("cannot evaluate a greedy token");
        }
        token = most_likely(llama_get_logits_ith(context, 0), num_vocab);
    }
    puts("]");
    llama_batch_free(batch);
    llama_free(context);
    llama_model_free(model);
    return 0;
}
