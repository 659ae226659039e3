/* y = x w + bias: x (count, inputs), y (count, outputs), w panels of (inputs, VAE_PANEL). */
static void vae_linear(
    int count, const float *x, const vae_weight *weight, const float *bias, int inputs, int outputs, float *y
) {
    int column, first, r;
    for (column = 0; column < outputs; column += 2 * VAE_LANES) {
        for (first = 0; first < count; first += VAE_ROWS) {
            const int rows = count - first < VAE_ROWS ? count - first : VAE_ROWS;
            vae_tap tap;
            float *row[VAE_ROWS];
            tap.weight = weight;
            for (r = 0; r < VAE_ROWS; ++r) { /* rows beyond the last repeat the first and are not kept */
                const size_t image = (size_t)(first + (r < rows ? r : 0));
                tap.input[r] = x + image * (size_t)inputs;
                row[r] = y + image * (size_t)outputs;
            }
            vae_outputs(&tap, 1, inputs, (size_t)inputs * VAE_PANEL, bias, rows, column, outputs, row);
        }
    }
}
