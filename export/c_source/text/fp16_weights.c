/* Weights are IEEE binary16. Sign, exponent and fraction move to their places in a float, whose exponent is then 112 too
   small: a product with 2^112 makes up for it, and is exact. No weight is a subnormal number, so none appears here. */
typedef uint16_t vae_weight;
#if VAE_LANES == 1
static float vae_widened(const vae_weight *at) {
    return vae_number((uint32_t)(*at & 0x8000u) << 16 | (uint32_t)(*at & 0x7FFFu) << 13) * 5.19229686e33f;
}
#else
typedef int16_t vae_narrow __attribute__((vector_size(2 * VAE_LANES), aligned(2), may_alias));
typedef int32_t vae_signed __attribute__((vector_size(4 * VAE_LANES)));
typedef uint32_t vae_words __attribute__((vector_size(4 * VAE_LANES)));
static vae_vector vae_widened(const vae_weight *at) {
    const vae_words words = (vae_words)__builtin_convertvector(*(const vae_narrow *)at, vae_signed);
    return (vae_vector)(words << 13 & 0x8FFFE000u) * 5.19229686e33f;
}
#endif
