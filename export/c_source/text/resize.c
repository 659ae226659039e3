/* The nearest pixel: x (count, high, wide, channels), y (count, to_high, to_wide,
   channels). */
static void vae_resize(int count, const float *x, int high, int wide, int to_high, int to_wide, int channels, float *y) {
    int row, column, channel;
    for (; count > 0; --count, x += (size_t)high * (size_t)wide * (size_t)channels) {
        for (row = 0; row < to_high; ++row) {
            const size_t line = (size_t)row * (size_t)high / (size_t)to_high * (size_t)wide;
            for (column = 0; column < to_wide; ++column, y += channels) {
                const float *pixel =
                    x + (line + (size_t)column * (size_t)wide / (size_t)to_wide) * (size_t)channels;
                for (channel = 0; channel < channels; ++channel) {
                    y[channel] = pixel[channel];
                }
            }
        }
    }
}
