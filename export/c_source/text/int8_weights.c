/* Weights are whole numbers of 8 bits. Their scale, one for each output, comes after the sum, with the bias. */
typedef int8_t vae_weight;
#if VAE_LANES == 1
static float vae_widened(const vae_weight *at) { return (float)*at; }
#else
typedef int8_t vae_narrow __attribute__((vector_size(VAE_LANES), aligned(1), may_alias));
typedef int16_t vae_medium __attribute__((vector_size(2 * VAE_LANES)));
typedef int32_t vae_wide __attribute__((vector_size(4 * VAE_LANES)));
static vae_vector vae_widened(const vae_weight *at) {
    const vae_narrow narrow = *(const vae_narrow *)at;
#if VAE_LANES == 4
    const vae_wide wide = __builtin_convertvector(narrow, vae_wide);
#else /* of one step from 8 to 32 bits GCC 12 makes an instruction for each number */
    const vae_medium medium = __builtin_convertvector(narrow, vae_medium);
    const vae_wide wide = __builtin_convertvector(medium, vae_wide);
#endif
    return __builtin_convertvector(wide, vae_vector);
}
#endif
