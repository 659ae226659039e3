/* @title@

   C99; nothing but the compiler's own freestanding headers; no heap, no global state, so any number of threads may call.
   The image of a seed and an index is the same to the bit with every compiler and processor that has IEEE float32, at
   any optimisation except -ffast-math, provided that the calling thread rounds to nearest and does not flush subnormal
   numbers to zero; vae_self_test() says whether that holds.

   Images are float (channels, height, width) in [0, 1], pixels are uint8 (height, width, channels). A function returns
   VAE_OK or one of the errors below and then has written nothing. It needs up to VAE_STACK_BYTES of stack, or
   VAE_STACK_BYTES_BATCH in a function whose name ends in _batch. */
#ifndef VAE_GENERATOR_H
#define VAE_GENERATOR_H

#include <stddef.h>
#include <stdint.h>

#define VAE_PAIR_ID "@pair_id@" /* of the bundle that this was exported with */
#define VAE_LATENT_DIM @latent_dim@
#define VAE_CHANNELS @channels@
#define VAE_HEIGHT @height@
#define VAE_WIDTH @width@
#define VAE_CLASSES @classes@ /* @labels@ */
#ifndef VAE_HAS_ENCODER
#define VAE_HAS_ENCODER @has_encoder@ /* compile with -DVAE_HAS_ENCODER=0 to leave the encoder and its weights out */
#endif
#define VAE_STACK_BYTES @stack@
#define VAE_STACK_BYTES_BATCH @stack_batch@

#define VAE_OK 0
#define VAE_ERROR_NULL (-1)  /* a pointer is NULL */
#define VAE_ERROR_RANGE (-2) /* a seed or an index is above 2^63 - 1 */
#define VAE_ERROR_LABEL (-3) /* the model has no such class */
#define VAE_ERROR_VALUE (-4) /* a latent, a temperature or an image holds NaN or infinity, or a temperature is negative */

/* What vae_self_test() found first. */
#define VAE_FAILED_ENVIRONMENT (-10) /* this thread does not round to nearest, flushes to zero, or fuses operations */
#define VAE_FAILED_LATENTS (-11)
#define VAE_FAILED_DECODER (-12)
#define VAE_FAILED_PIXELS (-13)
#define VAE_FAILED_ENCODER (-14)
#define VAE_FAILED_RECONSTRUCTION (-15)

#ifdef __cplusplus
extern "C" {
#endif

/* Sample `index` of `seed`: pixels (VAE_HEIGHT, VAE_WIDTH, VAE_CHANNELS). label: 0 to VAE_CLASSES - 1, or -1 for any. temperature: 1 for
   the model's own distribution, below 1 for more typical images. */
int vae_sample(uint64_t seed, uint64_t index, int64_t label, float temperature, uint8_t *pixels);

/* The same for `count` indices in any order, @block@ at a time, which is faster; image i is that of indices[i] alone. */
int vae_sample_batch(
    uint64_t seed, const uint64_t *indices, size_t count, int64_t label, float temperature, uint8_t *pixels
);

/* The latents that vae_sample decodes: z (VAE_LATENT_DIM). */
int vae_latents(uint64_t seed, uint64_t index, int64_t label, float temperature, float *z);

/* z (VAE_LATENT_DIM) to image (VAE_CHANNELS, VAE_HEIGHT, VAE_WIDTH) in [0, 1], and `count` of them. */
int vae_decode(const float *z, float *image);
int vae_decode_batch(const float *z, size_t count, float *image);

#if VAE_HAS_ENCODER
/* image (VAE_CHANNELS, VAE_HEIGHT, VAE_WIDTH) in [0, 1] to the posterior's mean and log-variance, (VAE_LATENT_DIM) each,
   and `count` of them. */
int vae_encode(const float *image, float *mean, float *log_var);
int vae_encode_batch(const float *image, size_t count, float *mean, float *log_var);

/* Pixels through the posterior mean to pixels, (VAE_HEIGHT, VAE_WIDTH, VAE_CHANNELS) each; they may be the same memory.
   And `count` of them. */
int vae_reconstruct(const uint8_t *pixels_in, uint8_t *pixels_out);
int vae_reconstruct_batch(const uint8_t *pixels_in, size_t count, uint8_t *pixels_out);
#endif

/* Compares noise, decoder and encoder with the values that they had at export, to the bit. */
int vae_self_test(void);

#ifdef __cplusplus
}
#endif

#endif
