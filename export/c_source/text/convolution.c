/* Height before width in each pair. */
typedef struct {
    int input_size[2], inputs, output_size[2], outputs;
    int kernel[2], stride[2], padding[2], dilation[2];
    int transposed;
} vae_geometry;

/* The row (axis 0) or column (1) of the input that meets tap `tap` at output `at`, which may lie outside the input.
   Returns 0 where a transposed convolution has no such tap at this output. */
static int vae_source(const vae_geometry *g, int axis, int at, int tap, int *source) {
    const int offset = tap * g->dilation[axis] - g->padding[axis];
    if (!g->transposed) {
        *source = at * g->stride[axis] + offset;
        return 1;
    }
    *source = (at - offset) / g->stride[axis];
    return (at - offset) % g->stride[axis] == 0;
}

/* The taps of the outputs (at_y, at_x), which share them. Beyond its edges the input is 0. Returns how many. */
static int vae_gather(
    const vae_geometry *g, const float *x, const vae_weight *weight, const int *at_y, const int *at_x, vae_tap *taps
) {
    int count = 0, tap, r;
    for (tap = 0; tap < g->kernel[0] * g->kernel[1]; ++tap) {
        const int tap_y = tap / g->kernel[1], tap_x = tap % g->kernel[1];
        int present = 1;
        for (r = 0; r < VAE_ROWS; ++r) {
            int source_y, source_x;
            present = vae_source(g, 0, at_y[r], tap_y, &source_y) && vae_source(g, 1, at_x[r], tap_x, &source_x);
            if (!present) {
                break;
            }
            taps[count].input[r] =
                source_y >= 0 && source_y < g->input_size[0] && source_x >= 0 && source_x < g->input_size[1]
                    ? x + (size_t)(source_y * g->input_size[1] + source_x) * (size_t)g->inputs
                    : vae_zeros;
        }
        if (present) {
            taps[count++].weight = weight + (size_t)(tap * g->inputs) * VAE_PANEL;
        }
    }
    return count;
}

/* A convolution, or a transposed one, of `count` images: x (height, width, inputs), y (height, width, outputs), w panels
   of (kernel height, kernel width, inputs, VAE_PANEL). */
static void vae_convolution(
    int count, const float *x, const vae_weight *weight, const float *bias, const vae_geometry *g, float *y
) {
    const int step_y = g->transposed ? g->stride[0] : 1, step_x = g->transposed ? g->stride[1] : 1;
    const size_t panel = (size_t)(g->kernel[0] * g->kernel[1] * g->inputs) * VAE_PANEL;
    for (; count > 0; --count) {
        int start_y, start_x, first, column, r;
        for (start_y = 0; start_y < step_y; ++start_y) {
            for (start_x = 0; start_x < step_x; ++start_x) { /* outputs a stride apart have the same taps */
                const int high = (g->output_size[0] - start_y + step_y - 1) / step_y;
                const int wide = (g->output_size[1] - start_x + step_x - 1) / step_x;
                for (first = 0; first < high * wide; first += VAE_ROWS) {
                    const int rows = high * wide - first < VAE_ROWS ? high * wide - first : VAE_ROWS;
                    vae_tap taps[VAE_MOST_TAPS];
                    float *row[VAE_ROWS];
                    int at_y[VAE_ROWS], at_x[VAE_ROWS], found;
                    for (r = 0; r < VAE_ROWS; ++r) { /* rows beyond the last repeat the first and are not kept */
                        const int position = first + (r < rows ? r : 0);
                        at_y[r] = start_y + position / wide * step_y;
                        at_x[r] = start_x + position % wide * step_x;
                        row[r] = y + (size_t)(at_y[r] * g->output_size[1] + at_x[r]) * (size_t)g->outputs;
                    }
                    found = vae_gather(g, x, weight, at_y, at_x, taps);
                    for (column = 0; column < g->outputs; column += 2 * VAE_LANES) {
                        vae_outputs(taps, found, g->inputs, panel, bias, rows, column, g->outputs, row);
                    }
                }
            }
        }
        x += (size_t)(g->input_size[0] * g->input_size[1]) * (size_t)g->inputs;
        y += (size_t)(g->output_size[0] * g->output_size[1]) * (size_t)g->outputs;
    }
}
