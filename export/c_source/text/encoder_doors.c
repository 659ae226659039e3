/* ---- What generator.h declares: the encoder ----------------------------------------------------------------------- */

int vae_encode(const float *image, float *mean, float *log_var) {
    float work[VAE_ENCODER_WORK];
    float *const rows = work, *const buffers = work + VAE_PIXELS;
    int channel, at;
    if (image == NULL || mean == NULL || log_var == NULL) {
        return VAE_ERROR_NULL;
    }
    if (!vae_all_finite(image, VAE_PIXELS)) {
        return VAE_ERROR_VALUE;
    }
    for (at = 0; at < VAE_AREA; ++at) {
        for (channel = 0; channel < VAE_CHANNELS; ++channel) {
            rows[at * VAE_CHANNELS + channel] = image[channel * VAE_AREA + at];
        }
    }
    vae_encoder(1, rows, buffers, mean, log_var);
    return VAE_OK;
}

int vae_reconstruct(const uint8_t *pixels_in, uint8_t *pixels_out) {
    float mean[VAE_LATENT_DIM], log_var[VAE_LATENT_DIM];
    float work[VAE_ENCODER_WORK > VAE_DECODER_WORK ? VAE_ENCODER_WORK : VAE_DECODER_WORK];
    float *const image = work, *const buffers = work + VAE_PIXELS;
    int i;
    if (pixels_in == NULL || pixels_out == NULL) {
        return VAE_ERROR_NULL;
    }
    for (i = 0; i < VAE_PIXELS; ++i) {
        image[i] = (float)pixels_in[i] / 255.0f;
    }
    vae_encoder(1, image, buffers, mean, log_var);
    vae_decoder(1, mean, buffers, image);
    vae_round(image, VAE_PIXELS, pixels_out);
    return VAE_OK;
}
