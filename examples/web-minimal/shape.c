/* The image's sizes, for the page to read: channels, height, width. */
#include "generator.h"

extern const int32_t image_shape[3];
const int32_t image_shape[3] = {VAE_CHANNELS, VAE_HEIGHT, VAE_WIDTH};
