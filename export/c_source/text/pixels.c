/* ---- Pixels ------------------------------------------------------------------------------------------------------- */

/* 255 x rounded half to even, within 0 ... 255; NaN gives 0. Adding 1.5 * 2^23 leaves the whole number in the low bits. */
static void vae_round(const float *x, size_t count, uint8_t *pixels) {
    size_t i;
    for (i = 0; i < count; ++i) {
        float value = x[i] * 255.0f;
        value = value > 0.0f ? value : 0.0f;
        value = value < 255.0f ? value : 255.0f;
        pixels[i] = (uint8_t)(vae_bits(value + 12582912.0f) & 0xFFu);
    }
}
