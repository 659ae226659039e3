/* ---- What generator.h declares: the encoder ----------------------------------------------------------------------- */

enum { VAE_BOTH_WORK = VAE_ENCODER_WORK > VAE_DECODER_WORK ? VAE_ENCODER_WORK : VAE_DECODER_WORK };

/* Images (C, H, W) of one block to mean and log-variance. work: VAE_ENCODER_WORK floats for each image. */
static void vae_encode_block(const float *image, int count, float *work, float *mean, float *log_var) {
    float *const rows = work, *const buffers = rows + count * VAE_PIXELS;
    int i, channel, at;
    for (i = 0; i < count; ++i) {
        for (at = 0; at < VAE_AREA; ++at) {
            for (channel = 0; channel < VAE_CHANNELS; ++channel) {
                rows[(i * VAE_AREA + at) * VAE_CHANNELS + channel] = image[(i * VAE_CHANNELS + channel) * VAE_AREA + at];
            }
        }
    }
    vae_encoder(count, rows, buffers, mean, log_var);
}

/* Pixels of one block to pixels. moments: two latents for each image; work: VAE_BOTH_WORK floats for each. */
static void vae_reconstruct_block(
    const uint8_t *pixels_in, int count, float *moments, float *work, uint8_t *pixels_out
) {
    float *const image = work, *const buffers = work + count * VAE_PIXELS;
    int i;
    for (i = 0; i < count * VAE_PIXELS; ++i) {
        image[i] = (float)pixels_in[i] / 255.0f;
    }
    vae_encoder(count, image, buffers, moments, moments + count * VAE_LATENT_DIM);
    vae_decoder(count, moments, buffers, image);
    vae_round(image, (size_t)count * VAE_PIXELS, pixels_out);
}

int vae_encode(const float *image, float *mean, float *log_var) {
    float work[VAE_ENCODER_WORK];
    if (image == NULL || mean == NULL || log_var == NULL) {
        return VAE_ERROR_NULL;
    }
    if (!vae_all_finite(image, VAE_PIXELS)) {
        return VAE_ERROR_VALUE;
    }
    vae_encode_block(image, 1, work, mean, log_var);
    return VAE_OK;
}

int vae_encode_batch(const float *image, size_t count, float *mean, float *log_var) {
    float work[VAE_ENCODER_BLOCK * VAE_ENCODER_WORK];
    size_t i;
    if (count > 0 && (image == NULL || mean == NULL || log_var == NULL)) {
        return VAE_ERROR_NULL;
    }
    if (count > 0 && !vae_all_finite(image, count * VAE_PIXELS)) {
        return VAE_ERROR_VALUE;
    }
    for (i = 0; i < count; i += VAE_ENCODER_BLOCK) {
        const int images = count - i < VAE_ENCODER_BLOCK ? (int)(count - i) : VAE_ENCODER_BLOCK;
        const size_t at = i * VAE_LATENT_DIM;
        vae_encode_block(image + i * VAE_PIXELS, images, work, mean + at, log_var + at);
    }
    return VAE_OK;
}

int vae_reconstruct(const uint8_t *pixels_in, uint8_t *pixels_out) {
    float moments[2 * VAE_LATENT_DIM], work[VAE_BOTH_WORK];
    if (pixels_in == NULL || pixels_out == NULL) {
        return VAE_ERROR_NULL;
    }
    vae_reconstruct_block(pixels_in, 1, moments, work, pixels_out);
    return VAE_OK;
}

int vae_reconstruct_batch(const uint8_t *pixels_in, size_t count, uint8_t *pixels_out) {
    float moments[VAE_ENCODER_BLOCK * 2 * VAE_LATENT_DIM], work[VAE_ENCODER_BLOCK * VAE_BOTH_WORK];
    size_t i;
    if (count > 0 && (pixels_in == NULL || pixels_out == NULL)) {
        return VAE_ERROR_NULL;
    }
    for (i = 0; i < count; i += VAE_ENCODER_BLOCK) {
        const int images = count - i < VAE_ENCODER_BLOCK ? (int)(count - i) : VAE_ENCODER_BLOCK;
        vae_reconstruct_block(pixels_in + i * VAE_PIXELS, images, moments, work, pixels_out + i * VAE_PIXELS);
    }
    return VAE_OK;
}
