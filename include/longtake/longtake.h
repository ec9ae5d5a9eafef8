/* SPDX-License-Identifier: Apache-2.0
 * longtake/longtake.h - prompts to long, uncut video, as a stream of frames.
 *
 *   lt_error err = {0};
 *   lt_engine *engine = NULL;
 *   lt_stream *stream = NULL;
 *   lt_engine_params ep; lt_engine_params_init(&ep); ep.model_dir = "models";
 *   lt_stream_params sp; lt_stream_params_init(&sp);
 *   sp.prompt = "a red ball ...";
 *   sp.n_frames = 160;
 *   if (lt_engine_open(&ep, &engine, &err) == LT_OK &&
 *       lt_stream_open(engine, &sp, &stream, &err) == LT_OK) {
 *       lt_frame f;
 *       lt_status st;
 *       while ((st = lt_stream_next(stream, &f)) == LT_OK) { use(f.rgb); lt_frame_release(&f); }
 *       if (st < 0) fprintf(stderr, "%s\n", lt_stream_error(stream));
 *   } else fprintf(stderr, "%s\n", err.msg);
 *   lt_stream_close(&stream);
 *   lt_engine_close(&engine);
 *
 * Threads: an lt_engine is immutable after open and may serve many streams in many threads at once.
 * An lt_stream belongs to one thread at a time; only lt_stream_cancel may be called from any
 * thread. The library never prints and never exits. Strings are UTF-8 and copied. */
#ifndef LONGTAKE_LONGTAKE_H
#define LONGTAKE_LONGTAKE_H
#include <stddef.h>
#include <stdint.h>
#include "longtake/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LT_VERSION_MAJOR 0
#define LT_VERSION_MINOR 1
#define LT_VERSION_PATCH 0
LT_API const char *lt_version(void);    /* "0.1.0" */
LT_API const char *lt_build_info(void); /* one line: version, backends, libraries */

typedef struct lt_engine lt_engine;
typedef struct lt_stream lt_stream;

/* ---- engine: weights and device ------------------------------------------------------------ */

typedef enum lt_dtype_choice {
    LT_DTYPE_AUTO = 0,
    LT_DTYPE_F32 = 1,
    LT_DTYPE_BF16 = 2,
    LT_DTYPE_FP8 = 3 /* bf16, and E4M3 in the linear layers of the diffusion blocks; cuda only */
} lt_dtype_choice;

typedef enum lt_part {
    LT_PART_DIT = 1,
    LT_PART_TEXT = 2,
    LT_PART_VAE = 4,     /* decoder */
    LT_PART_ENCODER = 8, /* the VAE's encoder; not part of "all" */
    LT_PART_TAE = 16     /* of tae_path; "all" has it instead of the VAE when the path is given */
} lt_part;

/* A LoRA to add to the diffusion model: W += scale * alpha / rank * B A. */
typedef struct lt_lora {
    const char *path; /* .safetensors, .pt; PEFT, kohya, ComfyUI or diffusers names */
    double scale;     /* 1: as trained */
} lt_lora;

typedef struct lt_engine_params {
    size_t struct_size;    /* set by lt_engine_params_init */
    const char *model_dir; /* model folder (transformer/ vae/ text_encoder/ tokenizer/) */
    const char *dit_path; /* component files; each overrides its part of model_dir; NULL: from it */
    const char *text_path;
    const char *vae_path;
    const char *tokenizer_path; /* spiece.model, tokenizer.json, or a file with one inside */
    const char *backend;        /* "auto" (NULL), "ref", "cpu", "cuda", "cuda:1" (second card) */
    const char
        *disable;    /* comma list of ops to take from ref; NULL none (bisecting a wrong picture) */
    int32_t dtype;   /* lt_dtype_choice: compute type of matmul and convolution */
    int32_t threads; /* per stream; 0: all cores this process may use */
    int32_t parts;   /* lt_part bits to load; 0: all. Streams need all three. */
    const lt_lora *loras; /* added in this order */
    int32_t n_lora;
    const char *checkpoint_key; /* sub-dict of a .pt diffusion model: "generator"; NULL: choose */
    /* A system's settings, a .json file as in models/presets: over the model folder's own, under
     * what is given here and to the stream. Also its checkpoint, where the model folder has the
     * files it names. NULL: none. */
    const char *preset;
    /* A small autoencoder (TAEHV: taew2_1, lighttaew2_1) that decodes instead of the VAE. NULL: the
     * VAE. Which latents it wants: "latents": "denormalised" in a config.json beside it, else
     * "lighttae" in its name means that. */
    const char *tae_path;
    /* Finished prompts are kept as files in this folder, which is made if need be: the next film of
     * a prompt reads its file instead of the text encoder. NULL: none. Cannot be written: LT_EIO. */
    const char *text_cache_dir;
    /* Non-zero: the text encoder stays packed in memory. Zero: a large one (above 1 GiB), and any
     * with a text_cache_dir, is read layer by layer for every prompt and kept nowhere. */
    int32_t keep_text;
    /* Most memory that the engine and one of its streams may hold, GiB: weights, frame cache,
     * activations, VAE. More is LT_ENOMEM, with the numbers, before it is taken. 0: what the machine
     * has. A text encoder that may be is read layer by layer to stay below. */
    double max_ram_gib;
    /* The same for the memory of a graphics card, where all of that lies except pictures on their
     * way to the caller. 0: what the card has free. LT_EINVAL with a backend that computes in host
     * memory. */
    double max_vram_gib;
} lt_engine_params;

/* Zero means "default" in every field. The size makes old callers safe with a newer library. */
LT_API void lt_engine_params_init_sized(lt_engine_params *p, size_t size);
#define lt_engine_params_init(p) lt_engine_params_init_sized((p), sizeof *(p))

/* Maps and packs the weights. On failure *out is NULL and err (may be NULL) has the line.
 * Errors: LT_EIO (cannot read), LT_EFORMAT (malformed, wrong shape, missing part), LT_ENOMEM,
 * LT_EINVAL. */
LT_API lt_status lt_engine_open(const lt_engine_params *p, lt_engine **out, lt_error *err);
LT_API void lt_engine_close(lt_engine **engine); /* NULL-safe; all its streams must be closed */

/* What the model folder asks for and what was inferred from the tensors. */
typedef struct lt_model_info {
    size_t struct_size;
    char name[64];
    int32_t width, height; /* default picture size, pixels */
    double fps;
    int32_t chunk, window, sink; /* latent frames */
    int32_t mode, sink_policy;   /* lt_mode, lt_sink_policy */
    int32_t n_step;              /* denoising steps per chunk */
    double timesteps[16];        /* before the shift */
    double flow_shift;
    int32_t text_len, latent_channels,
        size_multiple; /* width and height must divide by size_multiple */
    int64_t dit_params, text_params, vae_params;
    char preset[64];                    /* name of the preset, "" without one */
    int32_t compat;                     /* non-zero: as the published code, not as its paper */
    int32_t prompt_switch, prompt_fade; /* lt_prompt_switch; chunks of a fade */
    double ema;                         /* of LT_SINK_EMA */
    int32_t deep_budget, deep_recent, deep_reuse; /* of LT_SINK_DEEP; latent frames, times */
    int32_t init_mode; /* lt_init_mode the model was trained for; 0: it does not say */
} lt_model_info;
LT_API void lt_engine_model(const lt_engine *engine, lt_model_info *info, size_t size);

/* ---- stream: one generation ---------------------------------------------------------------- */

typedef enum lt_mode { LT_MODE_DEFAULT = 0, LT_MODE_CHUNK = 1, LT_MODE_ROLLING = 2 } lt_mode;
typedef enum lt_sink_policy {
    LT_SINK_DEFAULT = 0,
    LT_SINK_NONE = 1,     /* no anchors: only the window (sink is 0) */
    LT_SINK_ABSOLUTE = 2, /* anchors keep the temporal positions they were made at (LongLive) */
    LT_SINK_SLOT = 3,     /* positions count inside the cache (StreamingLLM, MotionStream) */
    LT_SINK_REALIGN =
        4, /* absolute positions, anchors moved to just before the window (Rolling Forcing) */
    LT_SINK_DEEP = 5, /* slot; of the past only what is asked for most is kept (Deep Forcing) */
    LT_SINK_EMA = 6   /* slot; what leaves the window is mixed into the anchors (Reward Forcing) */
} lt_sink_policy;

/* What becomes of the cache when the prompt changes. */
typedef enum lt_prompt_switch {
    LT_SWITCH_DEFAULT = 0,
    LT_SWITCH_NONE = 1,        /* nothing: a slow turn */
    LT_SWITCH_RECACHE = 2,     /* the window is computed again with the new text (LongLive) */
    LT_SWITCH_RECACHE_ALL = 3, /* the anchors too, from the oldest frames of the window */
    LT_SWITCH_FLUSH = 4,       /* anchors and the last two latent frames stay (Infinity-RoPE) */
    LT_SWITCH_LERP = 5         /* the text fades over some chunks (Krea) */
} lt_prompt_switch;

/* A later prompt. It takes effect with the first chunk that begins at `frame` or later. */
typedef struct lt_prompt {
    const char *text;
    int64_t frame; /* pixel frame, above 0 */
    int32_t cut; /* non-zero: a scene cut, the chunk stands apart in time; LT_SINK_SLOT and _EMA */
    int32_t reserved; /* 0 */
} lt_prompt;

#define LT_ON 1
#define LT_OFF 2

/* How a stream starts from pictures: 1 + 4 (n - 1) of them are n latent frames. */
typedef enum lt_init_mode {
    LT_INIT_DEFAULT = 0, /* the model's, but pictures that fill a chunk are always prefilled; of a
                            model that does not say: one picture and a chunk above 1: clamp; else
                            prefill */
    LT_INIT_CLAMP = 1, /* they are the first pictures of the first chunk, and come out again as the
                            VAE sees them; n < chunk */
    LT_INIT_PREFILL =
        2 /* they are the past: the stream goes on behind them; n a multiple of chunk */
} lt_init_mode;

/* Progress of the denoiser, called from the stream's worker thread after each pass. */
typedef struct lt_progress {
    int64_t chunk; /* chunk being denoised */
    int32_t step, n_step;
    int64_t frames_done; /* pixel frames decoded so far */
    int64_t n_frames;    /* pixel frames asked for, 0: endless */
} lt_progress;

#define LT_UNSET (-1)
typedef struct lt_stream_params {
    size_t struct_size;    /* set by lt_stream_params_init */
    const char *prompt;    /* required, not empty */
    int32_t width, height; /* pixels, multiples of the model's size_multiple; 0: the model's */
    int64_t n_frames;      /* pixel frames; 0: endless */
    uint64_t seed;
    int32_t mode;         /* lt_mode */
    int32_t chunk;        /* latent frames per chunk; 0: the model's */
    int32_t window;       /* past latent frames seen beside anchors and current chunk; LT_UNSET: the
                             model's */
    int32_t sink;         /* anchor latent frames; LT_UNSET: the model's */
    int32_t sink_policy;  /* lt_sink_policy */
    int32_t n_timesteps;  /* 0: the model's */
    double timesteps[16]; /* before the shift, descending, in (0, 1000] */
    double flow_shift;    /* 0: the model's */
    int32_t no_registers; /* non-zero: ignore the checkpoint's registers and sink logits */
    int (*progress)(void *opaque, const lt_progress *p); /* non-zero return cancels; NULL none */
    void *opaque;
    const lt_prompt *prompts; /* what follows on `prompt`, in ascending order of frame */
    int32_t n_prompts;        /* at most 256 */
    int32_t prompt_switch;    /* lt_prompt_switch; 0: the model's */
    int32_t prompt_fade;      /* LT_SWITCH_LERP: chunks, up to 1000; 0: the model's */
    int32_t compat; /* LT_ON: as the published code where that differs; LT_OFF; 0: the model's */
    /* Pictures to start from, [n_init, height, width, 3] sRGB; read by lt_stream_open and not kept.
     * The engine needs LT_PART_ENCODER, or a tae_path with an encoder. More than anchors and window
     * hold only costs time. With prefill n_frames counts what is new, and lt_frame.index begins at
     * n_init; so do the frames of `prompts`, from 0 for the first new one. */
    const uint8_t *init_rgb;
    int64_t n_init;    /* 0: none; 1, 5, 9, ... */
    int32_t init_mode; /* lt_init_mode */
} lt_stream_params;

LT_API void lt_stream_params_init_sized(lt_stream_params *p, size_t size);
#define lt_stream_params_init(p) lt_stream_params_init_sized((p), sizeof *(p))

/* Encodes the prompt, takes all memory, starts the worker threads.
 * Errors: LT_EINVAL (what, allowed range), LT_ENOMEM. */
LT_API lt_status lt_stream_open(lt_engine *engine, const lt_stream_params *p, lt_stream **out,
                                lt_error *err);

typedef struct lt_frame {
    const uint8_t *rgb; /* [height, width, 3], sRGB as shown (BT.709 primaries), full range */
    int32_t width, height;
    int64_t index;     /* pixel frame, from 0 */
    int64_t chunk;     /* chunk it belongs to */
    int32_t chunk_end; /* non-zero on the last frame of a chunk */
    void *priv;        /* the pool's */
} lt_frame;

/* Next frame; blocks until it is there. LT_OK, LT_AGAIN (you hold every frame of the pool: release
 * one), LT_END, or an error (LT_ECANCELLED after a cancel): then lt_stream_error explains it. */
LT_API lt_status lt_stream_next(lt_stream *stream, lt_frame *out);
LT_API void lt_frame_release(lt_frame *frame);               /* NULL-safe, clears *frame */
LT_API const char *lt_stream_error(const lt_stream *stream); /* "" when there is none */
/* Against drift: the network forgets what it has made and goes on from the first frames, as if they
 * had just been made; the picture jumps there once. `chunk` is lt_frame.chunk of the frame that the
 * wish rests on, already received. Workers are ahead of the caller, so it takes effect a few chunks
 * later, always equally many: returns the first chunk that is made so; it may be behind the end.
 * Before that chunk further wishes change nothing and return it. Equal frames and equal wishes give
 * equal videos, whatever the speed, if the wish comes before the last frame of chunk + 1 is
 * released. Any thread. */
LT_API int64_t lt_stream_reanchor(lt_stream *stream, int64_t chunk);
/* Any thread. Workers stop at the next block of the network; frames already decoded still come. */
LT_API void lt_stream_cancel(lt_stream *stream);
LT_API void
lt_stream_close(lt_stream **stream); /* NULL-safe; cancels and joins; release frames first */

/* Facts of an open stream: resolved parameters, how much of the prompt was used, memory. */
typedef struct lt_stream_info {
    size_t struct_size;
    int32_t width, height, chunk, window, sink, sink_policy, mode, n_step;
    double fps, flow_shift, timesteps[16];
    int32_t prompt_tokens;      /* tokens of the whole prompt, with the end mark */
    int32_t prompt_tokens_used; /* less than prompt_tokens: the prompt was cut at the text length */
    uint64_t state_bytes, work_bytes;              /* cache and activations */
    double text_seconds, dit_seconds, vae_seconds; /* worker time so far */
    int32_t compat, prompt_switch, prompt_fade;
    int32_t n_prompts; /* later prompts that begin before the end */
    int32_t init_mode; /* lt_init_mode in use; 0: it starts from noise alone */
    int64_t first;     /* lt_frame.index of the first frame that comes */
    /* Where the memory goes, bytes. Weights are the engine's, of a streamed text encoder one layer;
     * the VAE's state is with its arena; frames are those between the workers. */
    uint64_t mem_dit, mem_text, mem_vae, mem_cache, mem_activations, mem_vae_state, mem_frames;
    uint64_t mem_total;
} lt_stream_info;
LT_API void lt_stream_get_info(const lt_stream *stream, lt_stream_info *info, size_t size);

/* ---- looking inside: what `longtake info` and `longtake eval` use --------------------------- */

/* JSON (one object) about a model folder or a weight file; *json is freed with lt_free. */
LT_API lt_status lt_info_json(const char *path, char **json, lt_error *err);
/* A preset file, checked, with every default filled in. The same. */
LT_API lt_status lt_preset_json(const char *path, char **json, lt_error *err);
LT_API void lt_free(void *p);

/* One part on given tensors, files in safetensors; see `longtake eval --help` for the shapes. */
typedef struct lt_eval_params {
    size_t struct_size;
    const char *part; /* "text", "dit", "rollout", "vae-decode", "vae-encode", "tae-decode",
                         "tae-encode" */
    const char *in, *out;
    const char *prompt; /* text only */
    const lt_stream_params
        *stream; /* rollout: mode, timesteps, flow_shift, chunk, window, sink, sink_policy */
} lt_eval_params;
/* lt_part bits that an eval part needs (for lt_engine_params.parts); 0 for an unknown name. */
LT_API int32_t lt_eval_needs(const char *part);
LT_API lt_status lt_eval(lt_engine *engine, const lt_eval_params *p, lt_error *err);

/* A whole model timed part by part (opens and closes engines of its own, one part at a time). */
typedef struct lt_bench_params {
    size_t struct_size;
    int32_t width, height; /* pixels; 0: the model's */
    int32_t n_chunk;       /* chunks to denoise; 0: one */
    /* Called once per measurement, from this thread; names are for people and may repeat. */
    void (*report)(void *opaque, const char *name, double value, const char *unit);
    void *opaque;
    /* Non-zero: no files; a model of random numbers of Wan 2.1 1.3B's shape with LongLive's settings
     * (chunk 3, window 12, anchors 3, 4 steps), 832x480: stages, streams with the small and the
     * full autoencoder, the rolling schedule. n_chunk: of each stream; 0: 40. */
    int32_t random;
    int32_t dim, layers; /* of the random model, other parts in proportion; 0: 1536 and 30 */
} lt_bench_params;
LT_API lt_status lt_bench(const lt_engine_params *engine, const lt_bench_params *p, lt_error *err);

/* ---- converting weights: `longtake convert` ------------------------------------------------- */

typedef enum lt_convert_dtype {
    LT_CONVERT_AUTO = 0, /* as stored; weights that were quantized become bf16 */
    LT_CONVERT_F32 = 1,
    LT_CONVERT_F16 = 2,
    LT_CONVERT_BF16 = 3,
    LT_CONVERT_F8 = 4 /* E4M3 with one scale per layer inside the blocks, bf16 elsewhere */
} lt_convert_dtype;

#define LT_CONVERT_TAE 1024 /* lt_convert_params.part: a tiny autoencoder, names as they are */

typedef struct lt_convert_params {
    size_t struct_size;
    const char *in;  /* a file or folder of any form that the engine loads */
    const char *out; /* .safetensors; appears when complete */
    int32_t dtype;   /* lt_convert_dtype */
    int32_t part;    /* an lt_part bit or LT_CONVERT_TAE; 0: told by the names */
    const lt_lora *loras;
    int32_t n_lora;
    const char *checkpoint_key;
    /* After each piece, from this thread; non-zero return cancels; NULL none. */
    int (*progress)(void *opaque, int64_t done_bytes, int64_t total_bytes);
    void *opaque;
} lt_convert_params;

typedef struct lt_convert_info {
    size_t struct_size;
    char part[16]; /* "dit", "text", "vae", "tae" */
    int32_t tensors;
    uint64_t written_bytes; /* also when it failed on the way */
} lt_convert_info;

/* One tensor at a time: memory does not grow with the file. info may be NULL. */
LT_API lt_status lt_convert(const lt_convert_params *p, lt_convert_info *info, lt_error *err);

#ifdef __cplusplus
}
#endif
#endif
