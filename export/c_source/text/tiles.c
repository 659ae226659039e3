/* ---- Sums of products ----------------------------------------------------------------------------------------------
   A tensor of one image is stored as height, width, channels, whatever order the model had. Each output is
   ((bias + piece) + piece) + ..., and a piece is the sum of VAE_PIECE products or fewer, in the order of the inputs, from
   zero: short chains keep the rounding error small. Vectors lie across outputs, so no compiler has to reorder a sum to
   use them, and their length does not change a bit. */

enum { VAE_PIECE = 64, VAE_PANEL = 16 };

/* The weights of one multiple, (depth, VAE_PANEL) in every panel, and the input of each row that meets them. */
typedef struct {
    const vae_weight *weight;
    const float *input[VAE_ROWS];
} vae_tap;

#define VAE_CLEAR(r) vae_vector a##r = VAE_ZERO, b##r = VAE_ZERO;
#define VAE_INPUT(r) const float *const x##r = tap->input[r] + start;
#define VAE_MULTIPLY(r) a##r = a##r + x##r[k] * left, b##r = b##r + x##r[k] * right;
#define VAE_ADD_PIECE(r)                                                          \
    *(vae_loose *)total[r] = *(vae_loose *)total[r] + a##r;                       \
    *(vae_loose *)(total[r] + VAE_LANES) = *(vae_loose *)(total[r] + VAE_LANES) + b##r;

/* Adds to total[r] what row r gives in two vectors of outputs: their weights lie at `first`, and `second` further on. */
#define VAE_DEFINE_TILE(name, EACH_ROW)                                                                               \
    static void name(                                                                                                 \
        const vae_tap *tap, int taps, int depth, size_t first, size_t second, float (*total)[2 * VAE_LANES]           \
    ) {                                                                                                               \
        int start, k;                                                                                                 \
        for (; taps > 0; --taps, ++tap) {                                                                             \
            for (start = 0; start < depth; start += VAE_PIECE) {                                                      \
                const int length = depth - start < VAE_PIECE ? depth - start : VAE_PIECE;                             \
                const vae_weight *weight = tap->weight + first + (size_t)start * VAE_PANEL;                           \
                EACH_ROW(VAE_INPUT)                                                                                   \
                EACH_ROW(VAE_CLEAR)                                                                                   \
                for (k = 0; k < length; ++k, weight += VAE_PANEL) {                                                   \
                    const vae_vector left = vae_widened(weight);                                                      \
                    const vae_vector right = vae_widened(weight + second);                                            \
                    EACH_ROW(VAE_MULTIPLY)                                                                            \
                }                                                                                                     \
                EACH_ROW(VAE_ADD_PIECE)                                                                               \
            }                                                                                                         \
        }                                                                                                             \
    }

#define VAE_ONE_ROW(DO) DO(0)
VAE_DEFINE_TILE(vae_tile, VAE_EACH_ROW)
VAE_DEFINE_TILE(vae_tile_of_one, VAE_ONE_ROW)

/* Fills the outputs from `column` on, as many as a tile has and no more than there are, of `rows` rows y. */
static void vae_outputs(
    const vae_tap *tap, int taps, int depth, size_t panel, const float *bias, int rows, int column, int outputs,
    float *const *y
) {
    const size_t first = (size_t)(column / VAE_PANEL) * panel + (size_t)(column % VAE_PANEL);
    /* The second vector is the next part of this panel, or the next panel; the last one is computed twice. */
    const size_t next_panel = column + VAE_PANEL < outputs ? panel : 0;
    const size_t second = VAE_LANES < VAE_PANEL ? VAE_LANES : next_panel;
    const int width = outputs - column < 2 * VAE_LANES ? outputs - column : 2 * VAE_LANES;
    float total[VAE_ROWS][2 * VAE_LANES];
    int r, j;
    for (r = 0; r < VAE_ROWS; ++r) {
        for (j = 0; j < 2 * VAE_LANES; ++j) {
            total[r][j] = j < width ? bias[column + j] : 0.0f;
        }
    }
    if (rows > 1) {
        vae_tile(tap, taps, depth, first, second, total);
    } else {
        vae_tile_of_one(tap, taps, depth, first, second, total);
    }
    for (r = 0; r < rows; ++r) {
        for (j = 0; j < width; ++j) {
            y[r][column + j] = total[r][j];
        }
    }
}
