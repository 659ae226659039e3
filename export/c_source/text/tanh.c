/* Below 1 Lambert's continued fraction, cut after x^7; above, 1 - 2 / (e^2|x| + 1), where that cancels nothing. */
static void vae_tanh(float *x, size_t count) {
    size_t i;
    for (i = 0; i < count; ++i) {
        const uint32_t sign = vae_bits(x[i]) & 0x80000000u;
        const float magnitude = vae_number(vae_bits(x[i]) ^ sign);
        const float near_zero = magnitude < 1.0f ? magnitude : 1.0f;
        const float square = near_zero * near_zero;
        const float above = near_zero * (135135.0f + square * (17325.0f + square * (378.0f + square)));
        const float below = 135135.0f + square * (62370.0f + square * (3150.0f + square * 28.0f));
        const float large = 1.0f - 2.0f / (vae_exp(2.0f * magnitude) + 1.0f);
        const float result = magnitude < 1.0f ? above / below : large;
        x[i] = vae_number(vae_bits(result) | sign);
    }
}
