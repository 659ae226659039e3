/* x = x scale + shift, one pair for each of the `channels`, which are the inner axis. */
static void vae_scale(float *x, size_t rows, size_t channels, const float *scale, const float *shift) {
    size_t row, channel;
    for (row = 0; row < rows; ++row, x += channels) {
        for (channel = 0; channel < channels; ++channel) {
            x[channel] = x[channel] * scale[channel] + shift[channel];
        }
    }
}
