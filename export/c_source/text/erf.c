/* The error function. Below 1 Taylor's series, whose next term is below 2e-9; above, Abramowitz & Stegun 7.1.26. */
static void vae_erf(float *x, size_t count) {
    size_t i;
    for (i = 0; i < count; ++i) {
        const uint32_t sign = vae_bits(x[i]) & 0x80000000u;
        const float magnitude = vae_number(vae_bits(x[i]) ^ sign);
        const float near_zero = magnitude < 1.0f ? magnitude : 1.0f;
        const float square = near_zero * near_zero;
        const float beyond = magnitude > 1.0f ? magnitude : 1.0f;
        const float far = beyond < 4.0f ? beyond : 4.0f;
        const float t = 1.0f / (1.0f + 0.3275911f * far);
        float series = 1.48071928e-8f, rest = 1.061405429f, result;
        series = series * square - 1.63658447e-7f;
        series = series * square + 1.64621144e-6f;
        series = series * square - 1.49256504e-5f;
        series = series * square + 1.20553330e-4f;
        series = series * square - 8.54832702e-4f;
        series = series * square + 5.22397763e-3f;
        series = series * square - 2.68661706e-2f;
        series = series * square + 1.12837917e-1f;
        series = series * square - 3.76126389e-1f;
        series = series * square + 1.12837917f;
        rest = rest * t - 1.453152027f;
        rest = rest * t + 1.421413741f;
        rest = rest * t - 0.284496736f;
        rest = rest * t + 0.254829592f;
        result = magnitude < 1.0f ? series * near_zero : 1.0f - rest * t * vae_exp(-(far * far));
        x[i] = vae_number(vae_bits(result) | sign);
    }
}
